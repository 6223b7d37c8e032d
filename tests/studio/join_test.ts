/**
 * A tab of Chromium that works for `./run sweep` and `./run finetune --nodes` over a broker: what is trained is what one
 * process trains, and what the tab may not do it says in a sentence.
 * @module
 */
import type { Page } from "playwright-core";
import { assert, assertEquals } from "@std/assert";
import { VERSION } from "@peft/webgpu";
import { JetStreamBroker } from "@peft/webgpu/distributed";
import { findBase } from "../../cli/sweep/files.ts";
import { openTraining, PROTOCOL, removeTraining, TRAININGS } from "../../jobs/nodes/protocol.ts";
import { swiftShaderDriver } from "../browser/chromium.ts";
import { NATS_SERVER, NatsServer } from "../distributed/nats_server.ts";
import { adapterOf, runFinetune, writeTinyTraining } from "../distributed/tiny_nodes.ts";
import { CommandProcess, runSweep, until } from "../distributed/tiny_sweep.ts";
import { freePort } from "../free_port.ts";
import { inFolder } from "../train/tiny_run.ts";
import { withStudio } from "./studio_page.ts";

/** Optimizer steps: enough for a broker that is restarted and a tab that is closed after. */
const STEPS = 24;

/** Numbers of an adapter. */
function numbersOf(file: Uint8Array): Float32Array {
  const head = 8 + Number(new DataView(file.buffer).getBigUint64(0, true));
  return new Float32Array(file.slice(head).buffer);
}

/** Whether two adapters differ by no more than the sums of two software adapters do. */
function assertClose(a: Uint8Array, b: Uint8Array): void {
  const [x, y] = [numbersOf(a), numbersOf(b)];
  assertEquals(x.length, y.length);
  const worst = x.reduce((worst, value, i) => Math.max(worst, Math.abs(value - y[i])), 0);
  assert(worst < 1e-6, `differ by ${worst}`);
}

/** Presses a button of a page. */
const press = (page: Page, name: string) => page.getByRole("button", { name, exact: true }).click();
const heading = (page: Page, name: string) => page.getByRole("heading", { name }).waitFor();
/** Shares that a tab computed for the training at hand. */
const computedBy = async (page: Page) =>
  Number(
    (await page.locator(".fact", { hasText: "Computed here" }).locator(".number").allInnerTexts())[0] ?? 0,
  );

/** Writes a sweep of one trial, which trains what `./run finetune` trains with these flags. */
async function writeSweep(file: string, args: readonly string[]): Promise<void> {
  const flags = args.flatMap((name, at) => {
    if (!name.startsWith("--")) return [];
    const value = args[at + 1];
    return [[name.slice(2), Number.isNaN(Number(value)) ? value : Number(value)]];
  });
  const { lr, ...finetune } = Object.fromEntries(flags);
  const parameters = { lr: { values: [lr] } };
  await Deno.writeTextFile(file, JSON.stringify({ name: "tab", method: "grid", parameters, finetune }));
}

Deno.test({
  name:
    "NATS: a tab runs a sweep's trial and is a node of a training, over a broker that restarts, until it is closed in the middle: both adapters are those of one process",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder((folder) =>
      withStudio({}, async ({ page, open, sockets, refused }) => {
        page.setDefaultTimeout(90_000); // what was asked of a broker that dies counts as lost after 30 s
        const web = freePort();
        await using server = await NatsServer.start(
          `websocket { host: "127.0.0.1", port: ${web}, no_tls: true }\nauthorization { user: peft, password: secret }`,
        );
        const driver = await swiftShaderDriver();
        const env = driver ? { VK_ICD_FILENAMES: driver, VK_DRIVER_FILES: driver } : undefined;
        const queue = ["--queue", server.url.replace("//", "//peft:secret@"), "--ack-wait", "2"];
        const { model, args } = await writeTinyTraining(folder, STEPS);
        const both = [...args, "--accumulation", "2"];
        await runFinetune(...both, "--output", `${folder}/alone`);
        const wanted = await adapterOf(`${folder}/alone`);
        let beginner: CommandProcess | null = null;
        try {
          await refusal(page, open, { web, server });
          const { hash } = await findBase(model);
          const asked = sockets.length;
          await page.goto("about:blank");
          await open(`join.html#broker=ws://127.0.0.1:${web}&base=${hash}&user=peft&password=wrong`);
          const studio = page.url().replace(/join.html.*/, "");
          const names = await Array.fromAsync(Deno.readDir(model), ({ name }) => `${model}/${name}`);
          await page.locator("input[type=file]").first().setInputFiles(names);
          await page.getByText("the one that is needed").waitFor();
          assertEquals(sockets.length, asked, "nothing is asked of the broker before");
          await press(page, "Join");
          await page.getByRole("alert").getByText("The broker does not let you in.").waitFor();
          await page.getByLabel("Password").fill("secret");
          await press(page, "Join");
          await heading(page, "Waiting for work");

          await writeSweep(`${folder}/sweep.json`, both);
          await runSweep(`${folder}/sweep.json`, ...queue, "--output", `${folder}/best`);
          const trained = await adapterOf(`${folder}/best`); // by the tab alone
          assertClose(trained, wanted);
          await page.getByText(`trial 0: step ${STEPS}, trainLoss`).waitFor();

          const flags = ["--websocket", `ws://127.0.0.1:${web}`, "--studio", studio];
          const nodes = [...args, "--nodes", "2", ...queue, ...flags, "--output", `${folder}/nodes`];
          beginner = new CommandProcess("finetune", nodes, env);
          await until("it has computed", async () => await computedBy(page) >= 2);
          const link =
            `${studio}join.html#broker=ws://127.0.0.1:${web}&training=nodes&model=model&base=${hash}`;
          assert(beginner.text.includes(`or a browser's tab: ${link}\n`), beginner.text);
          await server.stop();
          await page.getByText("The broker is away.").first().waitFor();
          await server.begin();
          const before = await computedBy(page);
          await until("it goes on", async () => await computedBy(page) > before);
          await page.goto("about:blank"); // as if it were closed
          assert(!/is over/.test(beginner.text), beginner.text);
          assertEquals((await beginner.status()).code, 0, beginner.text);
          const shared = await adapterOf(`${folder}/nodes`);
          assertClose(shared, wanted);
          if (driver !== null) assertEquals(shared, trained, "to the bit: both computed on SwiftShader");
          assertEquals([...new Set(sockets.slice(asked))], [`ws://127.0.0.1:${web}/`]);
          assertEquals(refused, []);
        } finally {
          await beginner?.end("SIGKILL"); // where a step failed
        }
      })
    ),
});

/** A training whose base the tab has not. */
async function refusal(
  page: Page,
  open: (path: string) => Promise<void>,
  { web, server }: { readonly web: number; readonly server: NatsServer },
): Promise<void> {
  const broker = await JetStreamBroker.connect({ url: server.url, user: "peft", password: "secret" });
  const hash = "0".repeat(64);
  const record = {
    ...{ protocol: PROTOCOL, version: VERSION, id: crypto.randomUUID(), name: "other", model: "small" },
    ...{ base: hash, plan: hash, nodes: 2, compression: "none", data: [], given: {} },
  };
  await openTraining(broker, "other", 2000);
  await (await broker.records(TRAININGS)).put("other", JSON.stringify(record));
  await open(`join.html#broker=ws://127.0.0.1:${web}&user=peft&password=secret`);
  await press(page, "Use the storyteller");
  await page.getByText("may be used").waitFor();
  await press(page, "Join");
  await page.getByText(
    /Cannot join the training "other": its base model "small" \(SHA-256 0{12}\) must be one of those chosen in this tab, received "Built-in/,
  ).waitFor();
  await press(page, "Leave");
  await heading(page, "This tab has left");
  await removeTraining(broker, "other");
  await broker.close();
}
