// Makes the component: `node build.mjs OUTPUT`. All modules are bundled into one, which is what componentize-js takes.
import { mkdir, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';
import { build } from 'esbuild';

const output = process.argv[2] ?? 'my-plugin.wasm';
const bundle = 'build/plugin.js';
await mkdir('build', { recursive: true });
await build({
  entryPoints: ['plugin.js'],
  bundle: true,
  format: 'esm',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  outfile: bundle,
});
const { component } = await componentize({
  sourcePath: bundle,
  witPath: 'wit',
  // A plugin has no network, so it needs no code for it.
  disableFeatures: ['http', 'fetch-event'],
});
await writeFile(output, component);
