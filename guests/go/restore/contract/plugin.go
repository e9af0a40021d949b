package contract

import "unsafe"

// Context is what this instance of the plugin works for.
type Context struct {
	// SourceTopic is the topic that was backed up.
	SourceTopic string
	// TargetTopic is the topic that is written to.
	TargetTopic string
}

// Plugin is what Armory calls. The main package fills it in, in its own init.
var Plugin struct {
	// Init is called once for every instance, before anything else. The text is the plugin's spec as YAML, nil where there is
	// none. An error stops the restore of the topic; its text is shown to the user.
	Init func(context Context, spec *string) error
	// Partitions is called once for every pair of topics, before the first record is restored, with the number of partitions
	// that is required so far. It returns the number that the target topic has to have.
	Partitions func(required uint64) uint64
	// Transform is called for every record, in the order of offsets within a partition.
	Transform func(record Record) Outcome
}

//go:wasmexport init
func initialize(sourceAt, sourceLength, targetAt, targetLength uint32, hasSpec, specAt, specLength uint32) unsafe.Pointer {
	context := Context{
		SourceTopic: liftString(sourceAt, sourceLength),
		TargetTopic: liftString(targetAt, targetLength),
	}
	spec := liftOptionalString(hasSpec, specAt, specLength)
	taken()
	return unsafe.Pointer(lowerResult(Plugin.Init(context, spec)))
}

//go:wasmexport update-target-topic-requirements
func updateTargetTopicRequirements(partitions uint64) uint64 {
	return Plugin.Partitions(partitions)
}
