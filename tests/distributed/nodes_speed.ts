/**
 * Steps that one, two and four processes share over a broker on this machine; a pause in each share's computation stands
 * for a GPU's time, so that processes do not compete for the processor's cores.
 * Run: deno run -A tests/distributed/nodes_speed.ts [milliseconds of a share, default 400]
 * @module
 */

import { NatsServer } from "./nats_server.ts";

const SHARES = 4;
const STEPS = 24;
/** Batches, and so shares, of an epoch's steps: the data is eleven. */
const SHARES_OF_STEPS = [4, 4, 3];
/** Steps before the measured ones: processes come, and shares without one are taken over. */
const FIRST = 12;
const SCRIPT = new URL("./gradients_node.ts", import.meta.url).pathname;
const [shareMs = 400] = Deno.args.map(Number);

/** Milliseconds of a step by so many processes, and what the last of them counted. */
async function measure(processes: number): Promise<{ stepMs: number; counts: Record<string, number> }> {
  await using server = await NatsServer.start();
  const begun = new Map<number, number>();
  let counts: Record<string, number> = {};
  const run = async (holder: string) => {
    const args = [
      "run",
      "-A",
      "--no-check",
      SCRIPT,
      server.url,
      holder,
      `${SHARES}`,
      `${STEPS}`,
      `${shareMs}`,
    ];
    const child = new Deno.Command(Deno.execPath(), {
      args,
      env: { NO_COLOR: "1", LP_NUM_THREADS: "1" },
      stdout: "piped",
      stderr: "null",
    }).spawn();
    let rest = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const [, step] = /^step (\d+) /.exec(line) ?? [];
        if (step !== undefined) begun.set(Number(step), performance.now()); // its last share stays
        if (line.startsWith("{")) counts = JSON.parse(line);
      }
    }
    await child.status;
  };
  await Promise.all(Array.from({ length: processes }, (_, i) => run(`p${i}`)));
  return { stepMs: (begun.get(STEPS)! - begun.get(FIRST)!) / (STEPS - FIRST), counts };
}

for (const processes of [1, 2, 4]) {
  const { stepMs, counts } = await measure(processes);
  const rounds = SHARES_OF_STEPS.reduce((sum, shares) => sum + Math.ceil(shares / processes), 0);
  const ideal = Math.round(shareMs * rounds / SHARES_OF_STEPS.length);
  const { computed, sent, puts, received, reads, looks } = counts;
  console.log(
    `${processes} processes: ${stepMs.toFixed(0)} ms a step, ${ideal} of them computing; ` +
      `of one: ${JSON.stringify({ computed, sent, puts, received, reads, looks })}`,
  );
}
