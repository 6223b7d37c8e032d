/**
 * A server on loopback over the small model that ships here, with two adapters, and the official client.
 * @module
 */

import OpenAI from "openai";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  getPeftModel,
  type GPT2LMHeadModel,
  LoraConfig,
  type Tokenizer,
} from "@peft/webgpu";
import { type AppOptions, createApp, Engine, type Limits } from "@peft/webgpu/serve";
import { ownDevice } from "../reference/fixtures.ts";
import { randomise } from "../peft/tiny_model.ts";
import { inFolder } from "../train/tiny_run.ts";

/** The folder of the model that ships here. */
export const MODEL = "examples/demo/model";
/** Messages as lines; tools before them; answers begin after "A:". */
export const TEMPLATE =
  "{% for tool in tools or [] %}T:{{ tool.function.name }} {% endfor %}{% for m in messages %}{{ m.role[0] | upper }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}A:{% endif %}";

/** A server that runs. */
export interface Running {
  readonly engine: Engine;
  readonly model: GPT2LMHeadModel;
  readonly tokenizer: Tokenizer;
  readonly url: string;
  readonly client: OpenAI;
  /** Folder of the adapters "one" and "two". */
  readonly folder: string;
  /** What an adapter, or null, answers greedily, alone. */
  alone(text: string, adapter: string | null, count: number): Promise<string>;
}

/** LoRA adapters of different ranks and targets, in folders of their names. */
async function writeAdapters(folder: string): Promise<void> {
  const model = await AutoModelForCausalLM.fromPretrained<GPT2LMHeadModel>(MODEL, {
    device: await ownDevice(),
  });
  const peft = getPeftModel(model, new LoraConfig({ r: 4, targetModules: ["c_attn", "c_fc"] }), "one");
  await randomise(peft, 11);
  peft.addAdapter("two", new LoraConfig({ r: 7, targetModules: ["c_attn", "mlp.c_proj"] }));
  peft.setAdapter("two");
  await randomise(peft, 12);
  await peft.savePretrained(folder);
  peft.dispose();
}

/** Runs `body` with a server, which is then shut down. */
export async function withServer(
  body: (server: Running) => Promise<void>,
  options: Partial<AppOptions> = {},
  limits: Partial<Limits> = {},
): Promise<void> {
  await inFolder(async (folder) => {
    await writeAdapters(folder);
    const device = await ownDevice();
    const model = await AutoModelForCausalLM.fromPretrained<GPT2LMHeadModel>(MODEL, { device });
    const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
    tokenizer.chatTemplate = TEMPLATE;
    const engine = new Engine(model, tokenizer, "base", {
      ...{ maxRows: 16, maxWaiting: 1000, maxNewTokens: 100, maxChoices: 8, promptCacheBytes: 0 },
      ...limits,
    });
    for (const name of ["one", "two"]) await engine.adapters.add(name, `${folder}/${name}`);
    const app = createApp(engine, {
      ...{ apiKey: null, maxBodyBytes: 1 << 20, timeoutMs: 60_000, allowOrigin: null },
      adapterSource: (path) => `${folder}/${path}`,
      onLost: (error) => console.error(error),
      ...options,
    });
    const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, app.fetch);
    const url = `http://127.0.0.1:${server.addr.port}`;
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: options.apiKey ?? "none", maxRetries: 0 });
    const alone = async (text: string, adapter: string | null, count: number) => {
      const prompt = tokenizer.encode(text);
      const bound = engine.adapters.bind([adapter === null ? null : engine.adapters.get(adapter)!.name]);
      try {
        const [ids] = await model.generate([prompt], {
          maxNewTokens: count,
          eosTokenId: model.facts.eosTokenIds,
          runStep: bound.run,
        });
        const end = ids.findIndex((id, at) => at >= prompt.length && model.facts.eosTokenIds.includes(id));
        return tokenizer.decode(ids.slice(prompt.length, end < 0 ? undefined : end), {
          skipSpecialTokens: true,
        });
      } finally {
        bound.dispose();
      }
    };
    try {
      await body({ engine, model, tokenizer, url, client, folder, alone });
    } finally {
      await server.shutdown();
      engine.dispose();
      while (engine.running > 0) await pause(5);
      model.dispose();
    }
  });
}

/** Waits. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until a condition holds. @throws if it does not within ten seconds */
export async function until(holds: () => boolean, what: string): Promise<void> {
  for (const end = Date.now() + 10_000; !holds(); await pause(10)) {
    if (Date.now() > end) throw new Error(`after ten seconds still not: ${what}`);
  }
}
