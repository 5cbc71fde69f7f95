package compute

import "unsafe"

// Pointer is where byte offset at of the buffer lies in the device's memory, for a
// library that works on that memory itself. It is good until Close.
func (b *Buffer) Pointer(at int) unsafe.Pointer { return unsafe.Add(b.p, at) }

// Device is what the buffer is on.
func (b *Buffer) Device() *Device { return b.d }
