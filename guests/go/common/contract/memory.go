package contract

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"unsafe"
)

// Armory allocates memory in the plugin to hand a record over, and no plugin may call out while that happens. Go's garbage
// collector does: it asks for the time. So the collector is turned off, and runs between records where it is allowed to.

// collectAfter is how many bytes the heap may grow before it is collected.
const collectAfter = 16 << 20

// The heap is looked at after this many records, or this many bytes of records.
const (
	lookAfterRecords = 256
	lookAfterBytes   = 4 << 20
)

var (
	// started tells that Go's runtime is up. Memory is asked for before that, by the adapter between Go's old system
	// interface and the one of components: 64 KiB for its stack, and as much for its state.
	started bool
	early   [256 << 10]byte
	// earlyUsed is how much of early is given away, for good.
	earlyUsed uintptr

	// handedIn holds what has been allocated for the record that is on its way in.
	handedIn [][]byte

	records, recordBytes int
	heap                 = []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	heapAfterCollection  uint64
)

func init() {
	debug.SetGCPercent(-1)
	started = true
}

//go:wasmexport cabi_realloc
func reallocate(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if old != nil || oldSize != 0 {
		panic("nothing that Armory hands over grows")
	}
	if !started {
		base := uintptr(unsafe.Pointer(&early))
		mask := uintptr(align) - 1
		start := (base+earlyUsed+mask)&^mask - base
		if start+uintptr(size) > uintptr(len(early)) {
			panic("the adapter needs more memory than is set aside for it")
		}
		earlyUsed = start + uintptr(size)
		return unsafe.Pointer(&early[start])
	}
	if size == 0 {
		// Never looked at, and may not be nil.
		return unsafe.Pointer(&early)
	}
	// Nothing in a record is aligned to more than 4 bytes, and Go aligns what is a multiple of 4 bytes long to as much.
	buffer := make([]byte, size)
	handedIn = append(handedIn, buffer)
	recordBytes += int(size)
	return unsafe.Pointer(unsafe.SliceData(buffer))
}

// taken says that what was handed in is referred to by Go values from now on.
func taken() {
	clear(handedIn)
	handedIn = handedIn[:0]
}

// collect runs the garbage collector where the heap has grown enough. Only an export that Armory calls may call it.
func collect() {
	records++
	if records < lookAfterRecords && recordBytes < lookAfterBytes {
		return
	}
	records, recordBytes = 0, 0
	metrics.Read(heap)
	if heap[0].Value.Uint64() < heapAfterCollection+collectAfter {
		return
	}
	runtime.GC()
	metrics.Read(heap)
	heapAfterCollection = heap[0].Value.Uint64()
}
