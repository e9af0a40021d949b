// A restore plugin that masks fields of JSON values, so that a copy of production's data can be given to others.
//
//     spec:
//       fields: [iban, email]
//
// Values that are not JSON, and those without such a field, pass as they are. A value that is masked is written anew: its
// spaces go, and numbers beyond 2^53 lose digits.

import { maskBytes, readFields } from './mask.js';

let fields;

/** @param {{sourceTopic: string, targetTopic: string}} context @param {string | undefined} spec */
export function init(context, spec) {
  // What is thrown is the error that the user sees.
  fields = readFields(spec);
}

/** @param {{noPartitions: bigint}} requirements */
export function updateTargetTopicRequirements(requirements) {
  return requirements;
}

export function transform(record) {
  const masked = maskBytes(record.payload, fields);
  if (masked !== undefined) {
    record.payload = masked;
  }
  return { tag: 'accepted', val: record };
}
