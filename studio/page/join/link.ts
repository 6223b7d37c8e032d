/**
 * The link by which a tab joins: what stands after the `#` of its address, which no server is ever told.
 *
 *     join.html#broker=wss://broker.example.org:9222&training=pirate&model=gpt2&base=<SHA-256>&user=…&password=…
 *
 * @module
 */
import type { StudioError } from "../../protocol.ts";

/** What a link says. */
export interface JoinLink {
  /** `wss://host:port`, without credentials. */
  readonly broker: string;
  /** What the one who sent it calls the training or sweep; null where it does not say. */
  readonly training: string | null;
  /** What they call the base model, and the hash of its files. */
  readonly model: string | null;
  readonly base: string | null;
  readonly user: string;
  readonly password: string;
  readonly token: string;
}

/** Names of what is shown in the address bar, too; the rest is secret. */
const SHOWN = ["broker", "training", "model", "base"] as const;

function wrong(title: string, whatToDo: string, detail = ""): StudioError {
  return { kind: "bad-settings", title, whatToDo, detail };
}

/** Hosts that are this computer, to which pages of https may speak without TLS. */
const isLocal = (host: string) => /^(?:localhost|.*\.localhost|127(?:\.\d+){3}|\[::1\])$/.test(host);

/**
 * Reads what stands after the `#`.
 * @param pageProtocol `https:` or `http:`, by which the page came
 * @returns the link, or why it is none
 */
export function readLink(hash: string, pageProtocol: string): JoinLink | StudioError {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const text = said.get("broker")?.trim() ?? "";
  const ask = "Ask whoever begins the training for the link: it ends with #broker=wss:// and the address.";
  if (text === "") return wrong("This page needs a link that names a broker.", ask);
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^wss?:$/.test(url.protocol)) {
    const why = "Tabs reach brokers by WebSockets: the address begins with wss:// or ws://.";
    return wrong("The link names no broker that a tab can reach.", why, text.replace(/\/\/[^@/]*@/, "//…@"));
  }
  if (url.protocol === "ws:" && pageProtocol === "https:" && !isLocal(url.hostname)) {
    return wrong(
      "This page came over https, and the link's broker has no TLS.",
      "Browsers allow that by wss:// alone: the broker needs a certificate, or the page must come over http.",
    );
  }
  const base = said.get("base");
  if (base !== null && !/^[0-9a-f]{64}$/.test(base)) {
    return wrong("The link is damaged: the base model's hash is not whole.", ask, base.slice(0, 100));
  }
  const { protocol, host, pathname, username, password } = url;
  return {
    broker: `${protocol}//${host}${pathname === "/" ? "" : pathname}`,
    training: said.get("training"),
    model: said.get("model"),
    base,
    user: said.get("user") ?? decodeURIComponent(password === "" ? "" : username),
    password: said.get("password") ?? decodeURIComponent(password),
    token: said.get("token") ?? decodeURIComponent(password === "" ? username : ""),
  };
}

/** Whether a link was read. */
export const isLink = (found: JoinLink | StudioError): found is JoinLink => "broker" in found;

/** What the address bar shows of a link: no credentials. */
export function shownHash(link: JoinLink): string {
  const shown = SHOWN.filter((name) => link[name] !== null).map((name) => [name, link[name]!]);
  return `#${new URLSearchParams(shown)}`.replaceAll("%3A", ":").replaceAll("%2F", "/");
}

/**
 * A policy of the browser by which a page reaches one broker in place of all.
 * @param policy the page's own, which allows `ws:` and `wss:`
 */
export function policyFor(broker: string, policy: string): string {
  const { protocol, host, hostname } = new URL(broker);
  // a policy can name no address of IPv6
  return policy.replace("ws: wss:", hostname.startsWith("[") ? protocol : `${protocol}//${host}`);
}
