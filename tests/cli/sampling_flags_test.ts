import { assertEquals } from "@std/assert";
import { type Command, parseFlags } from "../../cli/command.ts";
import { SAMPLING_FLAGS, samplingOptions } from "../../cli/sampling_flags.ts";

Deno.test("samplingOptions() gives every flag to its option, and the model's own values where none is given", () => {
  const args = ["--sample", "--temperature", "0.5", "--top-k", "7", "--top-p", "0.8", "--min-p", "0.1"];
  args.push("--repetition-penalty", "1.2", "--presence-penalty=-0.5", "--no-repeat-ngram-size", "3");
  args.push("--seed", "9");
  const command = { name: "test", flags: SAMPLING_FLAGS } as unknown as Command<typeof SAMPLING_FLAGS>;
  const all = {
    doSample: true,
    temperature: 0.5,
    topK: 7,
    topP: 0.8,
    minP: 0.1,
    repetitionPenalty: 1.2,
    presencePenalty: -0.5,
    noRepeatNgramSize: 3,
    seed: 9,
  };
  assertEquals(samplingOptions(parseFlags(command, args)!), all);
  const own = { temperature: 2, topK: 3, topP: 0.5, minP: 0.2, repetitionPenalty: 2, noRepeatNgramSize: 4 };
  assertEquals(samplingOptions(parseFlags(command, args)!, own), all);
  assertEquals(samplingOptions(parseFlags(command, ["--sample"])!, own), {
    ...own,
    doSample: true,
    presencePenalty: undefined,
    seed: 0,
  });
});
