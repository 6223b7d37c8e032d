/**
 * Models of the hub, kept in the browser's storage.
 * @module
 */

import type { ModelSource } from "../protocol.ts";
import type { FoundModel, OpenContext } from "./open_context.ts";
import { Refusal } from "./errors.ts";

/** Downloads what is missing of a model. @throws {HubError} */
export function fetchHubModel(
  source: Extract<ModelSource, { kind: "hub" }>,
  _context: OpenContext,
): Promise<FoundModel> {
  return Promise.reject(new Refusal("unsupported", "Not yet.", "", source.repo));
}
