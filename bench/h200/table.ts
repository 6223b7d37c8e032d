/**
 * Joins the JSON lines of both sides into a markdown table with the targets.
 * Run: deno run -A bench/h200/table.ts OURS.jsonl TORCH.jsonl
 * @module
 */
type Figure = Readonly<Record<string, number | string>>;

/** A ratio ours : theirs and what it must be at least. */
interface Target {
  readonly measure: string;
  readonly name: string;
  readonly key: string;
  readonly reach: number;
  /** Ours must be at most `reach` of theirs. */
  readonly atMost?: boolean;
}

const TARGETS: readonly Target[] = [
  { measure: "matmul f32 4096^3, GFLOP/s", name: "matmul", key: "gflops", reach: 0.6 },
  { measure: "LoRA step 8 x 1024, tokens/s", name: "lora 8x1024", key: "tokensPerSecond", reach: 0.8 },
  {
    measure: "LoRA step 8 x 1024, peak bytes",
    name: "lora 8x1024",
    key: "peakBytes",
    reach: 0.5,
    atMost: true,
  },
  { measure: "LoRA step 1 x 128, tokens/s", name: "lora 1x128", key: "tokensPerSecond", reach: 1.5 },
  { measure: "greedy decode, tokens/s", name: "greedy decode", key: "tokensPerSecond", reach: 2 },
];

/** The figures of one side, by name. Lines that are no JSON objects are text for people. */
function readFigures(text: string): Map<string, Figure> {
  const lines = text.split("\n").filter((line) => line.startsWith("{"));
  return new Map(
    lines.map((line) => JSON.parse(line) as Figure).map((figure) => [String(figure.name), figure]),
  );
}

/** The table; a missing figure shows as `open`. */
export function formatTargets(oursText: string, torchText: string): string {
  const [ours, torch] = [readFigures(oursText), readFigures(torchText)];
  const rows = TARGETS.map(({ measure, name, key, reach, atMost }) => {
    const [a, b] = [Number(ours.get(name)?.[key]), Number(torch.get(name)?.[key])];
    const ratio = a / b;
    const known = Number.isFinite(ratio) && a > 0;
    const verdict = !known ? "open" : (atMost ? ratio <= reach : ratio >= reach) ? "reached" : "missed";
    const cell = (value: number) => Number.isFinite(value) ? value.toPrecision(4) : "-";
    const wanted = `${atMost ? "at most" : "at least"} ${reach}`;
    return `| ${measure} | ${cell(a)} | ${cell(b)} | ${
      known ? ratio.toFixed(2) : "-"
    } | ${wanted} | ${verdict} |`;
  });
  const adapters = `ours: ${ours.get("adapter")?.adapter}; PyTorch ${torch.get("adapter")?.torch}: ${
    torch.get("adapter")?.adapter
  }`;
  return [
    adapters,
    "",
    "| measure | ours | PyTorch | ratio | to reach | |",
    "|---|---|---|---|---|---|",
    ...rows,
  ]
    .join("\n");
}

if (import.meta.main) {
  const [ours, torch] = Deno.args.map((path) => Deno.readTextFileSync(path));
  console.log(formatTargets(ours, torch));
}
