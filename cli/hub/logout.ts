/**
 * `logout`: removes the token that `login` kept.
 * @module
 */

import { logout as removeToken } from "@peft/webgpu/hub";
import type { Command } from "../command.ts";

const flags = {} as const;

/** The command. */
export const logout: Command<typeof flags> = {
  name: "logout",
  summary: "Remove the token of the hub",
  flags,
  permissions: ["--allow-read", "--allow-write", "--allow-env", "--allow-sys=homedir"],
  examples: ["./run logout"],
  async run() {
    const result = await removeToken();
    console.log(
      result.removed ? `the token in ${result.path} is removed` : `there is no token in ${result.path}`,
    );
    if (result.environment) console.log("HF_TOKEN is still set, and gives a token");
    return result;
  },
};
