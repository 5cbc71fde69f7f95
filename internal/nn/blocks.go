package nn

// unblock turns [N][ceil(C/b)][space][b] into row-major.
func unblock(stored []float32, dims []int, block int) []float32 {
	data := make([]float32, product(dims))
	eachChannel(dims, block, func(plain, blocked, space int) {
		to, from := data[plain:plain+space], stored[blocked:]
		for s := range to {
			to[s] = from[s*block]
		}
	})
	return data
}

// inBlocks turns row-major into [N][ceil(C/b)][space][b], zeros beyond C.
func inBlocks(data []float32, dims []int, block int) []float32 {
	stored := make([]float32, product(dims)/dims[1]*((dims[1]+block-1)/block*block))
	eachChannel(dims, block, func(plain, blocked, space int) {
		to := stored[blocked:]
		for s, v := range data[plain : plain+space] {
			to[s*block] = v
		}
	})
	return stored
}

// eachChannel visits the channels of a tensor: where their first elements are in both
// layouts, and how many they have. In the blocked one they lie block apart.
func eachChannel(dims []int, block int, visit func(plain, blocked, space int)) {
	n, c, space := dims[0], dims[1], product(dims[2:])
	blocks := (c + block - 1) / block
	for i := range n {
		for ch := range c {
			visit((i*c+ch)*space, (i*blocks+ch/block)*space*block+ch%block, space)
		}
	}
}
