/**
 * What this tab does for others: the link, the base models that it has, and the work.
 * @module
 */
import { computed, signal } from "@preact/signals";
import type {
  ChosenBase,
  EngineEvent,
  JoinEvent,
  JoinResult,
  ModelSource,
  StudioError,
  TabJob,
} from "../../protocol.ts";
import { announce } from "../state/announcement.ts";
import { Task } from "../state/task.ts";
import { isLink, type JoinLink, policyFor, readLink, shownHash } from "./link.ts";

/** Lines of what happened that are shown. */
const MOST_LINES = 50;

const found = readLink(location.hash, location.protocol);

/** The link; null where it is none. */
export const link: JoinLink | null = isLink(found) ? found : null;
/** Why it is none. */
export const linkProblem: StudioError | null = isLink(found) ? null : found;

/** Takes credentials out of the address bar, and all brokers but this one out of the browser's policy. */
export function takeLink(): void {
  addEventListener("hashchange", () => location.reload()); // another link in the same tab
  if (link === null) return;
  history.replaceState(null, "", shownHash(link));
  const own = document.querySelector<HTMLMetaElement>('meta[http-equiv="Content-Security-Policy"]')!;
  const narrow = document.createElement("meta");
  narrow.httpEquiv = "Content-Security-Policy";
  narrow.content = policyFor(link.broker, own.content);
  document.head.append(narrow);
}

/** Credentials: of the link, or typed. */
export const user = signal(link?.user ?? "");
export const password = signal(link?.password ?? "");
export const token = signal(link?.token ?? "");

/** Models that jobs may use. */
export const bases = signal<readonly ChosenBase[]>([]);
/** Finding one. */
export const choosing = new Task();
/** Whether the one that the link names is there; where it names none, whether any is. */
export const hasBase = computed(() =>
  link?.base ? bases.value.some(({ hash }) => hash === link!.base) : bases.value.length > 0
);

/** Finds a model's files, and their hash. */
export async function chooseBase(source: ModelSource, name: string): Promise<void> {
  const chosen = await choosing.run(`Looking for ${name}`, "chooseBase", { source });
  if (!chosen) return;
  bases.value = [...bases.value.filter(({ hash }) => hash !== chosen.hash), chosen];
  announce(
    hasBase.value
      ? `${chosen.name} is ready.`
      : `${chosen.name} is another model than the one that is needed.`,
  );
}

/** What the tab does. */
export const status = signal<"ready" | "joining" | "waiting" | "working" | "leaving" | "left">("ready");
/** Joining, and the work until it ends. */
export const working = new Task();
/** What it computes now; the last one stays until the next. */
export const job = signal<TabJob | null>(null);
/** Whether the broker can be reached. */
export const isConnected = signal(true);
/** What happened, the newest last. */
export const lines = signal<readonly string[]>([]);
/** What was done, once the tab has left. */
export const result = signal<JoinResult | null>(null);

function take(event: JoinEvent): void {
  switch (event.type) {
    case "joined":
      status.value = "waiting";
      announce("The broker lets this tab in. It waits for work.");
      break;
    case "connection":
      isConnected.value = event.isThere;
      announce(event.isThere ? "The broker is back." : "The broker is away.");
      break;
    case "said":
      lines.value = [...lines.value, event.text].slice(-MOST_LINES);
      break;
    case "job": {
      const isNew = event.job !== null && status.value === "waiting";
      if (event.job) job.value = event.job;
      if (status.value !== "leaving") status.value = event.job ? "working" : "waiting";
      if (isNew) announce(`This tab computes for ${event.job!.name}.`);
      break;
    }
  }
}

/** Joins, and works until `leave` or a failure. */
export async function join(): Promise<void> {
  status.value = "joining";
  job.value = result.value = null;
  lines.value = [];
  isConnected.value = true;
  const secrets = Object.entries({ user: user.value, password: password.value, token: token.value })
    .filter(([, value]) => value !== "");
  const options = { broker: link!.broker, ...Object.fromEntries(secrets) };
  const done = await working.run("Reaching the broker", "join", options, (event: EngineEvent) => {
    if (event.event === "join") take(event.join);
  });
  status.value = done ? "left" : "ready";
  result.value = done ?? null;
  if (done) announce("This tab has left.");
}

/** Leaves after what is computed now. */
export function leave(): void {
  status.value = "leaving";
  announce("Leaving.");
  working.cancel();
}
