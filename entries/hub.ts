/**
 * `@peft/webgpu/hub`: the model hub. Downloads into the cache that is shared with Python, or into a store of a browser;
 * pushes (`pushToHub` of models, adapters, tokenizers and trainers); the login.
 * @module
 */

export { type Account, type AccountOptions, login, logout, whoAmI } from "../io/hub_account.ts";
export { type CachedModel, deleteCachedModel, listCachedModels } from "../io/hub_cache_list.ts";
export { HubError, type HubFailure, type HubOptions, type HubProgress, type HubTimeouts } from "../io/hub.ts";
export { type CommitInfo, type PushToHubOptions, uploadFolder } from "../io/hub_push.ts";
export { snapshotDownload, type SnapshotOptions } from "../io/hub_snapshot.ts";
export { type StoredHubModel, storeHubModel, type StoreHubOptions } from "../io/hub_store.ts";
export type { FolderStore } from "../io/folder_store.ts";
