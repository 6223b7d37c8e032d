/**
 * Where a model may come from: built in, the hub, or this device.
 * @module
 */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { ModelSource } from "../../protocol.ts";
import { environment, hubOrigin } from "../engine.ts";
import { Drop } from "./drop.tsx";
import { TextField } from "./field.tsx";
import { More } from "./words.tsx";

interface WaysProps {
  /** What is done with it. */
  readonly act: "open" | "use";
  readonly onChoose: (source: ModelSource, name: string) => void;
  readonly isDisabled: boolean;
  /** Name of a model of the hub that is likely wanted. */
  readonly usualRepo?: string;
}

/** A model that chats and that any device can train: 135 million weights. */
const SMALL_CHAT = "HuggingFaceTB/SmolLM2-135M-Instruct";

function Hub({ act, onChoose, isDisabled, usualRepo = "" }: WaysProps): JSX.Element {
  const [repo, setRepo] = useState(usualRepo);
  const [token, setToken] = useState("");
  const [revision, setRevision] = useState("");
  const [file, setFile] = useState("");
  const hub = new URL(hubOrigin).host;
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        const name = repo.trim();
        if (name === "") return;
        const source = {
          kind: "hub",
          repo: name,
          ...(token ? { token } : {}),
          ...(revision ? { revision } : {}),
          ...(file ? { file } : {}),
        } as const;
        onChoose(source, name);
      }}
    >
      <h3>From the model hub</h3>
      <p class="quiet">
        It is fetched from {hub} once and kept in this browser. A small one that chats:{" "}
        <button type="button" class="inline" onClick={() => setRepo(SMALL_CHAT)}>SmolLM2</button>
      </p>
      <TextField
        label="Name of the model"
        placeholder="owner/model"
        value={repo}
        onInput={setRepo}
      />
      <button type="submit" class="calm" disabled={repo.trim() === "" || isDisabled}>
        Fetch and {act}
      </button>
      <More label="More">
        <TextField
          label="Access token"
          help="For models that ask for a login. It is sent to the hub alone, and not kept."
          isSecret
          value={token}
          onInput={setToken}
        />
        <TextField label="Revision" placeholder="main" value={revision} onInput={setRevision} />
        <TextField
          label="File"
          help="One .gguf of several"
          placeholder="model-q8_0.gguf"
          value={file}
          onInput={setFile}
        />
      </More>
    </form>
  );
}

function Files({ onChoose }: WaysProps): JSX.Element {
  return (
    <div class="card">
      <h3>From this device</h3>
      <p class="quiet">A model folder (config.json, model.safetensors, tokenizer.json), or one GGUF file.</p>
      <Drop
        text="Drop it here"
        file="Choose a GGUF file"
        folder="Choose a folder"
        accept=".gguf"
        onFiles={({ name, files }) => onChoose({ kind: "files", name, files }, name)}
      />
    </div>
  );
}

function Builtin({ act, onChoose, isDisabled }: WaysProps): JSX.Element {
  return (
    <div class="card">
      <h3>Built in</h3>
      <p class="quiet">A storyteller of about a million weights, small enough to learn on any device.</p>
      <button
        type="button"
        class="calm"
        disabled={isDisabled || !environment.value}
        onClick={() => onChoose({ kind: "builtin" }, "the built-in model")}
      >
        {act === "open" ? "Open" : "Use"} the storyteller
      </button>
    </div>
  );
}

/** The three ways. */
export function ModelWays(props: WaysProps): JSX.Element {
  return (
    <div class="cards">
      <Builtin {...props} />
      <Hub {...props} />
      <Files {...props} />
    </div>
  );
}
