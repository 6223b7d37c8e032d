/**
 * The studio's Web Worker: messages in, messages out. The page starts its bundle with `new Worker(url, { type: "module" })`
 * and calls it through `client.ts`.
 * @module
 */

import { serveWorker } from "./serve.ts";

serveWorker();
