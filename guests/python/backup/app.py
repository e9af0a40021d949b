"""A backup plugin that removes one header from every record, so that it never reaches the archive.

Its configuration names the header:

    spec:
      header: secret
"""

from typing import Optional

import yaml
from componentize_py_types import Err
from wit_world import Context
from wit_world.imports.types import KafkaRecord, Outcome, Outcome_Accepted, Outcome_Error

# State belongs here and not on `self`: `transform` may be called on another `WitWorld` than `init` was.
header: Optional[str] = None


class WitWorld:
    def init(self, ctx: Context, cfg: Optional[str]) -> None:
        global header
        spec = read_spec(cfg)
        unknown = sorted(set(spec) - {"header"})
        if unknown:
            raise Err(f"invalid configuration: unknown key {unknown[0]}; the only key is header")
        if not isinstance(spec.get("header"), str):
            raise Err("invalid configuration: set spec.header to the key of the header to remove")
        header = spec["header"]

    def transform(self, rec: KafkaRecord) -> Outcome:
        if header is None:
            return Outcome_Error("transform was called before init")
        # Kafka allows several headers with one key: all of them go.
        rec.headers = [kept for kept in rec.headers if kept.key != header]
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
