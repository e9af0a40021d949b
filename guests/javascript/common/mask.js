// Replaces what must not be seen in JSON values.

import { parse } from 'yaml';

const decoder = new TextDecoder('utf-8', { fatal: true });
const encoder = new TextEncoder();

/** Reads the plugin's `spec`, which is handed over as YAML text, and returns the names of the fields to mask. */
export function readFields(text) {
  let spec;
  try {
    spec = parse(text ?? '');
  } catch (error) {
    throw `invalid configuration: ${error.message}`;
  }
  if (spec === null || typeof spec !== 'object' || Array.isArray(spec)) {
    throw 'no configuration; set spec.fields to the names of the fields to mask';
  }
  const unknown = Object.keys(spec).find((key) => key !== 'fields');
  if (unknown !== undefined) {
    throw `invalid configuration: unknown key ${unknown}; the only key is fields`;
  }
  if (!Array.isArray(spec.fields) || !spec.fields.every((name) => typeof name === 'string')) {
    throw 'invalid configuration: fields has to be a list of names';
  }
  return new Set(spec.fields);
}

/** Masks fields of a value that is a JSON object or array. `undefined`: nothing is to be changed. */
export function maskBytes(bytes, fields) {
  // A value that is no object has no fields; looking at a byte is cheaper than parsing.
  if (fields.size === 0 || bytes === undefined || (bytes[0] !== 0x7b && bytes[0] !== 0x5b)) {
    return undefined;
  }
  let value;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch {
    // Not JSON after all.
    return undefined;
  }
  return mask(value, fields) ? encoder.encode(JSON.stringify(value)) : undefined;
}

/** Masks fields at any depth; says whether there were any. */
function mask(value, fields) {
  if (value === null || typeof value !== 'object') {
    return false;
  }
  let found = false;
  for (const key of Object.keys(value)) {
    if (!Array.isArray(value) && fields.has(key)) {
      value[key] = '***';
      found = true;
    } else if (mask(value[key], fields)) {
      found = true;
    }
  }
  return found;
}
