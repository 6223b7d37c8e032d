/**
 * Every option of a run of 40 steps, killed at every step and resumed: losses, weights, moments, random states, data order
 * and samples must be those of the run that was not killed, bit for bit. A difference ends it with an error.
 * Usage: deno run -A bench/resume_matrix.ts [part of a case's name] [steps]
 * @module
 */
import { initDevice } from "../gpu/mod.ts";
import { CASES, checkResumption } from "./resume_cases.ts";

const [part = "", steps = "40"] = Deno.args;
const device = await initDevice();
let [total, failed] = [0, 0];
for (const [name, given] of Object.entries(CASES)) {
  if (!name.includes(part)) continue;
  const begin = performance.now();
  try {
    const { points, bytes } = await checkResumption(name, given, { device, steps: Number(steps) });
    total += points;
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    console.log(
      `${name}: ${points} kill points, ${bytes} bytes of checkpoint each, identical (${seconds} s)`,
    );
  } catch (error) {
    failed++;
    console.error(`FAILED ${name}: ${(error as Error).message}`);
  }
}
console.log(`${total} resumed runs identical, ${failed} cases failed; ${device.adapterName}`);
if (failed > 0) Deno.exit(1);
