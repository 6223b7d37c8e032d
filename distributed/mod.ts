/**
 * `@peft/webgpu/distributed`: work on several machines over a broker that exists, NATS with JetStream.
 *
 * ```ts ignore
 * const broker = await JetStreamBroker.connect({ url: "nats://localhost:4222" });
 * const queue = await broker.queue("evaluations");
 * await queue.add("first", new TextEncoder().encode("…"));
 * ```
 * @module
 */

export {
  type Broker,
  type BrokerRecord,
  checkName,
  type Delivery,
  forEachAtOnce,
  type ObjectStore,
  type OpenOptions,
  type QueueOptions,
  readObject,
  readRecords,
  type Records,
  type RecordsOptions,
  type WorkQueue,
} from "./broker.ts";
export { BrokerError, type BrokerFailure, withPatience } from "./broker_error.ts";
export { JetStreamBroker } from "./jetstream_broker.ts";
export { Lease, LeaseTakenError } from "./lease.ts";
export { LocalBroker } from "./local_broker.ts";
export type { NatsOptions } from "./nats.ts";
export {
  ForgottenSharesError,
  SharedGradients,
  type SharedGradientsCounts,
  type SharedGradientsOptions,
} from "./shared_gradients.ts";
