// Package contract is the plugin contract of wit/ in Go: the types that a plugin works with, and the functions that Armory
// calls. A plugin fills in Plugin and needs nothing else of this package.
package contract

// Record is one Kafka record. It belongs to the plugin: nothing else uses its slices.
type Record struct {
	// Key is nil for a record without a key, which is not the same as an empty key.
	Key []byte
	// Value is nil for a tombstone, which is not the same as an empty value.
	Value []byte
	// Headers are in the order in which the producer wrote them; a key may occur more than once.
	Headers []Header
	// Partition is the one that the record was read from. On a restore it may be changed to the one to write to, where nil
	// leaves the choice to Kafka's default partitioner. A backup ignores changes.
	Partition *int32
	// Offset is the one that the record was read from. Changes are ignored.
	Offset *int64
	// Timestamp says when the record was made. A changed Time is honoured, a changed Kind is ignored.
	Timestamp *Timestamp
}

// Header is one header of a record.
type Header struct {
	Key string
	// Value is nil for a header without a value, which is not the same as an empty value.
	Value []byte
}

// Timestamp says when a record was made, and by whose clock.
type Timestamp struct {
	Kind TimestampKind
	// Time is in milliseconds since 1970-01-01T00:00:00Z.
	Time int64
}

// TimestampKind says whose clock a timestamp comes from.
type TimestampKind uint8

const (
	// None is a record without a timestamp.
	None TimestampKind = iota
	// CreateTime is the producer's clock.
	CreateTime
	// LogAppendTime is the broker's clock, when it appended the record.
	LogAppendTime
)

// Outcome is what the plugin made of a record.
type Outcome struct {
	kind    uint8
	record  Record
	message string
}

// Accepted passes the record on: to the next plugin, or out.
func Accepted(record Record) Outcome { return Outcome{kind: 0, record: record} }

// Rejected filters the record: it is counted, and not passed on.
func Rejected(record Record) Outcome { return Outcome{kind: 1, record: record} }

// Error says that the record could not be processed. The entry's error policy decides what happens to it.
func Error(message string) Outcome { return Outcome{kind: 2, message: message} }
