/**
 * What the browser offers: its device, and the one tab that may use the storage.
 * @module
 */

import { type Device, initDevice, NoAdapterError } from "@peft/webgpu";
import type { GpuFacts, StudioError } from "../protocol.ts";
import { NO_WEBGPU, Refusal, studioError } from "./errors.ts";

const GIB = 2 ** 30;

/** Device memory that is planned with where nobody says how much there is. */
function guessBudget(device: Device): number {
  if (device.isFallback) {
    const { deviceMemory = 4 } = globalThis.navigator as { deviceMemory?: number };
    return deviceMemory * GIB / 2; // it is the computer's own memory
  }
  return Math.min(8 * GIB, Math.max(2 * GIB, device.limits.maxBufferSize));
}

/** What a reader may know a device by: browsers tell no more of many than their maker and family. */
function nameOf(device: Device): string {
  const { description, device: model, vendor, architecture } = device.gpuDevice.adapterInfo ?? {};
  const known = description || model || [vendor, architecture].filter((part) => part).join(" ");
  return known || device.adapterName;
}

/** Makes the device. @throws {Refusal} where there is no WebGPU */
export async function openDevice(budget: number | null): Promise<{ device: Device; facts: GpuFacts }> {
  let device: Device;
  try {
    device = await initDevice();
  } catch (error) {
    if (!(error instanceof NoAdapterError)) throw error;
    throw new Refusal(...NO_WEBGPU, error.message);
  }
  const memoryBudget = budget ?? guessBudget(device);
  device.memoryLimitBytes = memoryBudget;
  return {
    device,
    facts: {
      name: nameOf(device),
      isSoftware: device.isFallback,
      maxBufferSize: device.limits.maxBufferSize,
      maxBindingSize: device.limits.maxStorageBufferBindingSize,
      memoryBudget,
      isBudgetGuessed: budget === null,
    },
  };
}

/** What the engine needs of `navigator.locks`. */
export interface BrowserLocks {
  /** Asks for a lock that is held until `body` ends; null where another tab has it. */
  request(
    name: string,
    options: { ifAvailable: true },
    body: (lock: unknown) => Promise<void> | void,
  ): Promise<void>;
}

/** Name of the lock on the storage. */
const LOCK = "peft-studio";

/**
 * Takes the storage for this tab until the worker ends.
 * @returns why that cannot be; null where it is taken
 */
export async function takeStorage(locks: BrowserLocks | undefined): Promise<StudioError | null> {
  if (!locks) return null; // an old browser: nothing keeps two tabs apart
  const isTaken = await new Promise<boolean>((resolve, reject) => {
    locks.request(LOCK, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise<void>(() => {}); // for as long as the worker lives
    }).catch(reject);
  });
  if (isTaken) return null;
  return studioError(
    new Refusal(
      "other-tab",
      "The studio is open in another tab.",
      "Go on there, or close that tab and reload this one: two tabs would write over each other's checkpoints.",
    ),
  );
}
