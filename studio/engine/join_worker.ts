/**
 * The Web Worker of a tab that works for others: the studio's engine, and what takes jobs from a broker. It is a bundle of
 * its own, so that those who do not join load nothing of that.
 * @module
 */

import { Helper } from "./helper.ts";
import { serveWorker } from "./serve.ts";

serveWorker({ makeHelper: (bench, send) => new Helper(bench, send) });
