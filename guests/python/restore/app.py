"""A restore plugin that spreads the records of a topic over another number of partitions.

Its configuration says how many:

    spec:
      no_partition: 12

Where a record goes depends on the partition and the offset that it came from, and on nothing else: a restore that is run
again sends it to the same place. Records with the same key do not stay together.
"""

from typing import Optional

import yaml
from componentize_py_types import Err
from wit_world import Context, TargetTopicRequirements
from wit_world.imports.types import KafkaRecord, Outcome, Outcome_Accepted, Outcome_Error

# State belongs here and not on `self`: `transform` may be called on another `WitWorld` than `init` was.
no_partition: int = 0


class WitWorld:
    def init(self, ctx: Context, cfg: Optional[str]) -> None:
        global no_partition
        spec = read_spec(cfg)
        unknown = sorted(set(spec) - {"no_partition"})
        if unknown:
            raise Err(f"invalid configuration: unknown key {unknown[0]}; the only key is no_partition")
        number = spec.get("no_partition")
        # `True` is a number to Python.
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number < 2**31:
            raise Err("invalid configuration: set spec.no_partition to a number of partitions from 1 to 2147483647")
        no_partition = number

    def update_target_topic_requirements(self, req: TargetTopicRequirements) -> TargetTopicRequirements:
        return TargetTopicRequirements(no_partitions=no_partition)

    def transform(self, rec: KafkaRecord) -> Outcome:
        if rec.partition is None or rec.offset is None:
            return Outcome_Error("the record does not say where it came from")
        # Neighbours go to different partitions, and partitions do not all begin with the same one.
        rec.partition = (rec.partition + rec.offset) % no_partition
        return Outcome_Accepted(rec)


def read_spec(cfg: Optional[str]) -> dict:
    """The plugin's `spec`, which is handed over as YAML text."""
    try:
        spec = yaml.safe_load(cfg or "")
    except yaml.YAMLError as error:
        raise Err(f"invalid configuration: {error}")
    if spec is None:
        return {}
    if not isinstance(spec, dict):
        raise Err("invalid configuration: spec has to be an object")
    return spec
