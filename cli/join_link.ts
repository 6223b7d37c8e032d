/**
 * The link of the studio by which a browser's tab joins a training or a sweep.
 * @module
 */

import { basename } from "@std/path";
import type { TabValues } from "../jobs/broker_flags.ts";
import type { LocalBase } from "./sweep/files.ts";

/**
 * The link; null where no address for browsers was given. It has no credentials: the page asks for them.
 * @param name of the training or the sweep
 */
export function joinLink({ websocket, studio }: TabValues, name: string, base: LocalBase): string | null {
  if (websocket === undefined) return null;
  const isLocal = base.path.startsWith(base.name); // else its name is one of the hub
  const said = new URLSearchParams({
    ...{ broker: websocket, training: name },
    ...{ model: isLocal ? basename(base.path) : base.name, base: base.hash },
  });
  const page = new URL("join.html", studio.replace(/(?:\/(?:index\.html)?)?$/, "/"));
  return `${page}#${said}`.replaceAll("%3A", ":").replaceAll("%2F", "/");
}
