// A backup plugin that masks fields of JSON values, so that they never reach the archive.
//
//     spec:
//       fields: [iban, email]
//
// Values that are not JSON, and those without such a field, pass as they are. A value that is masked is written anew: its
// spaces go, and numbers beyond 2^53 lose digits.

import { maskBytes, readFields } from './mask.js';

let fields;

/** @param {{topic: string}} context @param {string | undefined} spec */
export function init(context, spec) {
  // What is thrown is the error that the user sees.
  fields = readFields(spec);
}

export function transform(record) {
  const masked = maskBytes(record.payload, fields);
  if (masked !== undefined) {
    record.payload = masked;
  }
  return { tag: 'accepted', val: record };
}
