/**
 * What holds the studio's page up: the tasks of its main thread, from a trace of Chromium, and layout that moves by itself.
 * @module
 */
import type { Page } from "playwright-core";

/** One task of the main thread. */
export interface MainThreadTask {
  /** Processor time of the thread, in milliseconds: what the page itself needs, however busy the machine is. */
  readonly cpuMs: number;
  /** From its begin to its end, in milliseconds. */
  readonly wallMs: number;
  /** Its longest parts, for a message. */
  readonly parts: string;
}

/** Layout that moved though nobody had acted just before. */
export interface LayoutShift {
  /** Share of the window times distance. */
  readonly value: number;
  /** The elements that moved. */
  readonly what: string;
}

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly tdur?: number;
  readonly args: {
    readonly beginData?: { readonly url?: string };
    readonly chrome_mojo_event_info?: { readonly mojo_interface_tag?: string };
  };
}

/** For so long after an act layout may move, in milliseconds: browsers allow half of it, too little on a machine that computes. */
const ALLOWED = 1000;

/** Keeps shifts in the page; `source.node` is gone where an element was removed since. */
const RECORD_SHIFTS = `
  globalThis.layoutShifts = [];
  let acted = -Infinity;
  for (const type of ["pointerdown", "click", "keydown", "input"]) {
    addEventListener(type, ({ timeStamp }) => acted = timeStamp, { capture: true });
  }
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput, startTime, sources } of list.getEntries()) {
      const place = ({ x, y }) => Math.round(x) + " " + Math.round(y);
      const what = sources.map(({ node, previousRect, currentRect }) =>
        place(previousRect) + " to " + place(currentRect) + ": " + (node?.outerHTML ?? node?.textContent ?? "").slice(0, 120)
      ).join(" | ");
      if (!hadRecentInput && startTime - acted > ${ALLOWED}) layoutShifts.push({ value, what });
    }
  }).observe({ type: "layout-shift", buffered: true });`;

/** Tasks that are looked at. */
const MOST_TASKS = 40;

/** The page's longest tasks in a trace, the longest first; those that answer the test's own messages do not count. */
function readTasks(events: readonly TraceEvent[], url: string): MainThreadTask[] {
  // Chromium's own pages, such as the list below its address line, have main threads too.
  const page = events.find(({ name, args }) => name === "ParseHTML" && args.beginData?.url === url)!;
  const timed = events.filter(({ ph, pid, tid }) => ph === "X" && pid === page.pid && tid === page.tid);
  const cpu = (event: TraceEvent) => (event.tdur ?? 0) / 1000;
  const longestFirst = (events: TraceEvent[]) => events.toSorted((a, b) => cpu(b) - cpu(a));
  return longestFirst(timed.filter(({ name }) => name === "RunTask")).slice(0, MOST_TASKS).flatMap((task) => {
    const inside = timed.filter((one) =>
      one !== task && one.ts >= task.ts && one.ts + one.dur! <= task.ts + task.dur!
    );
    const isTests = inside.some(({ args }) =>
      args.chrome_mojo_event_info?.mojo_interface_tag?.includes("DevTools")
    );
    if (isTests) return [];
    const parts = longestFirst(inside).slice(0, 6).map((one) => `${one.name} ${cpu(one).toFixed(1)}`);
    return [{ cpuMs: cpu(task), wallMs: task.dur! / 1000, parts: parts.join(", ") }];
  });
}

/**
 * Watches a page from now on; call it before the page is opened.
 * @returns ends it: the tasks of the main thread, and what moved
 */
export async function watchMainThread(
  page: Page,
): Promise<() => Promise<{ tasks: MainThreadTask[]; shifts: LayoutShift[] }>> {
  const browser = page.context().browser()!;
  await page.addInitScript(RECORD_SHIFTS);
  await browser.startTracing(page, {
    categories: ["toplevel", "disabled-by-default-devtools.timeline", "devtools.timeline"],
  });
  return async () => {
    const shifts = await page.evaluate("layoutShifts") as LayoutShift[];
    const trace = JSON.parse(new TextDecoder().decode(await browser.stopTracing()));
    return { tasks: readTasks(trace.traceEvents, new URL("/", page.url()).href), shifts };
  };
}
