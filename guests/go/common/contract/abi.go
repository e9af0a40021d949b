package contract

import "unsafe"

// How records and outcomes cross between Armory and the plugin, by the rules of the component model's canonical ABI:
// https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md. A record comes in as fifteen
// numbers, an outcome goes out as the address of a structure. Options are a flag and a value, lists an address and a length.

// result is `result<_, string>`.
type result struct {
	isError uint32
	message list
}

// list is the address and the length of something.
type list struct {
	at     uint32
	length uint32
}

type optionalList struct {
	isSome uint32
	list   list
}

type header struct {
	key   list
	value optionalList
}

// outcome is the variant of that name, 96 bytes long. Its second case is a record, too; its third is a string where the record begins.
type outcome struct {
	kind         uint32
	_            uint32
	key          optionalList
	headers      list
	hasPartition uint32
	partition    int32
	_            uint32
	hasOffset    uint64
	offset       int64
	hasTimestamp uint64
	kindOfTime   uint64
	time         int64
	value        optionalList
	_            uint32
}

var (
	resultOut  result
	outcomeOut outcome
	headersOut []header
	// handedOut keeps what outcomeOut points to until the next call.
	handedOut Outcome
)

func liftBytes(at, length uint32) []byte {
	if length == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(unsafe.Add(nil, at)), length)
}

func liftString(at, length uint32) string {
	return string(liftBytes(at, length))
}

func liftOptionalBytes(isSome uint32, at, length uint32) []byte {
	if isSome == 0 {
		return nil
	}
	return liftBytes(at, length)
}

func liftOptionalString(isSome uint32, at, length uint32) *string {
	if isSome == 0 {
		return nil
	}
	text := liftString(at, length)
	return &text
}

func liftHeaders(at, length uint32) []Header {
	if length == 0 {
		return nil
	}
	lifted := make([]Header, length)
	for index, told := range unsafe.Slice((*header)(unsafe.Add(nil, at)), length) {
		lifted[index] = Header{
			Key:   liftString(told.key.at, told.key.length),
			Value: liftOptionalBytes(told.value.isSome&0xff, told.value.list.at, told.value.list.length),
		}
	}
	return lifted
}

func lowerBytes(bytes []byte) list {
	return list{uint32(uintptr(unsafe.Pointer(unsafe.SliceData(bytes)))), uint32(len(bytes))}
}

func lowerString(text string) list {
	return list{uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text))}
}

func lowerOptionalBytes(bytes []byte) optionalList {
	if bytes == nil {
		return optionalList{}
	}
	return optionalList{1, lowerBytes(bytes)}
}

func lowerResult(err error) *result {
	resultOut = result{}
	if err != nil {
		// Kept by handedOut until it has been read.
		handedOut.message = err.Error()
		resultOut = result{1, lowerString(handedOut.message)}
	}
	return &resultOut
}

func lowerOutcome(told Outcome) *outcome {
	handedOut = told
	outcomeOut = outcome{kind: uint32(told.kind)}
	if told.kind == 2 {
		// The string lies where a record's first eight bytes are.
		text := lowerString(told.message)
		outcomeOut.key = optionalList{isSome: text.at, list: list{at: text.length}}
		return &outcomeOut
	}
	record := &handedOut.record
	headersOut = headersOut[:0]
	for _, one := range record.Headers {
		headersOut = append(headersOut, header{lowerString(one.Key), lowerOptionalBytes(one.Value)})
	}
	outcomeOut.key = lowerOptionalBytes(record.Key)
	outcomeOut.headers = list{uint32(uintptr(unsafe.Pointer(unsafe.SliceData(headersOut)))), uint32(len(headersOut))}
	if record.Partition != nil {
		outcomeOut.hasPartition, outcomeOut.partition = 1, *record.Partition
	}
	if record.Offset != nil {
		outcomeOut.hasOffset, outcomeOut.offset = 1, *record.Offset
	}
	if record.Timestamp != nil {
		outcomeOut.hasTimestamp, outcomeOut.kindOfTime = 1, uint64(record.Timestamp.Kind)
		outcomeOut.time = record.Timestamp.Time
	}
	outcomeOut.value = lowerOptionalBytes(record.Value)
	return &outcomeOut
}

//go:wasmexport transform
func transform(
	hasKey, keyAt, keyLength uint32,
	headersAt, headersLength uint32,
	hasPartition uint32, partition int32,
	hasOffset uint32, offset int64,
	hasTimestamp, kindOfTime uint32, time int64,
	hasValue, valueAt, valueLength uint32,
) unsafe.Pointer {
	record := Record{
		Key:     liftOptionalBytes(hasKey, keyAt, keyLength),
		Value:   liftOptionalBytes(hasValue, valueAt, valueLength),
		Headers: liftHeaders(headersAt, headersLength),
	}
	if hasPartition != 0 {
		record.Partition = &partition
	}
	if hasOffset != 0 {
		record.Offset = &offset
	}
	if hasTimestamp != 0 {
		record.Timestamp = &Timestamp{TimestampKind(kindOfTime), time}
	}
	taken()
	collect()
	return unsafe.Pointer(lowerOutcome(Plugin.Transform(record)))
}
