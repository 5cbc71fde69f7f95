package compute

import "fmt"

// OpenCUDA opens GPU number index with the CUDA backend. cuDNN and cuBLAS are found as
// the dynamic linker finds them, or are loaded already.
func OpenCUDA(index int) (*Device, error) {
	path, err := find("libtrtact_cuda.so")
	if err != nil {
		return nil, fmt.Errorf("open the CUDA backend: %w: run `make setup-cuda build`, or set TRTACT_LIB to the folder that holds it", err)
	}
	return Open(path, index)
}
