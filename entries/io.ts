/**
 * `@peft/webgpu/io`: safetensors, folders of every kind (paths, URLs, picked files, memory) and the model hub.
 * @module
 */

export {
  type Metadata,
  type PlacedTensor,
  type Safetensors,
  safetensors,
  type SafetensorsDtype,
  type SafetensorsEntry,
  SafetensorsError,
  type SafetensorsFile,
  type SafetensorsInput,
  type SafetensorsInputs,
  type TensorInfo,
  type TensorReader,
} from "../io/safetensors.ts";
export type { Placed, TensorFile } from "../io/tensor_file.ts";
export type { Chunks } from "../io/atomic_file.ts";
export { checkWritableFolder } from "../io/files.ts";
export type { FolderOutput } from "../io/folder_target.ts";
export { diskStore } from "../io/disk_store.ts";
export { type FolderStore, memoryStore, type UpdatedFile } from "../io/folder_store.ts";
export {
  handleStore,
  type SyncAccess,
  type WritableDirectoryHandle,
  type WritableFileHandle,
  type WritableStreamOfFile,
} from "../io/handle_store.ts";
export { type FolderLock, lockFolder } from "../io/folder_lock.ts";
export { sha256Of } from "../io/hashing.ts";
export { isSafeRelativePath } from "../io/relative_path.ts";
export { updateCard } from "../io/model_card.ts";
export { memoryFolder, urlFolder } from "../io/open_file.ts";
export type {
  Bytes,
  DirectoryHandle,
  FileInput,
  FileSource,
  FolderInput,
  FolderSource,
  MemoryFolder,
} from "../io/file_source.ts";
export type { GgufOptions } from "../io/gguf_source.ts";
export { HubError, type HubFailure, type HubOptions, type HubProgress, type HubTimeouts } from "../io/hub.ts";
export { type StoredHubModel, storeHubModel, type StoreHubOptions } from "../io/hub_store.ts";
