package nn

// unblock turns [N][ceil(C/b)][space][b] into row-major.
func unblock(stored []float32, dims []int, block int) []float32 {
	data := make([]float32, product(dims))
	eachElement(dims, block, func(plain, blocked int) { data[plain] = stored[blocked] })
	return data
}

// inBlocks turns row-major into [N][ceil(C/b)][space][b], zeros beyond C.
func inBlocks(data []float32, dims []int, block int) []float32 {
	stored := make([]float32, product(dims)/dims[1]*((dims[1]+block-1)/block*block))
	eachElement(dims, block, func(plain, blocked int) { stored[blocked] = data[plain] })
	return stored
}

// eachElement visits the elements of a tensor with their places in both layouts.
func eachElement(dims []int, block int, visit func(plain, blocked int)) {
	n, c, space := dims[0], dims[1], product(dims[2:])
	blocks := (c + block - 1) / block
	for i := range n {
		for ch := range c {
			from, to := (i*blocks+ch/block)*space*block+ch%block, (i*c+ch)*space
			for s := range space {
				visit(to+s, from+s*block)
			}
		}
	}
}
