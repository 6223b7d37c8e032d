/**
 * Before the tab joins: where it would connect, what it would do, and which base model it needs.
 * @module
 */
import type { JSX } from "preact";
import { environment } from "../engine.ts";
import { showBytes } from "../format.ts";
import { TextField } from "../parts/field.tsx";
import { ModelWays } from "../parts/model_ways.tsx";
import { TaskState } from "../parts/wait.tsx";
import { Fact, More, Opening } from "../parts/words.tsx";
import {
  bases,
  chooseBase,
  choosing,
  hasBase,
  join,
  link,
  password,
  status,
  token,
  user,
  working,
} from "./state.ts";

/** Digits of a hash that are shown. */
const short = (hash: string) => hash.slice(0, 12);
/** The name, where it can be one of the hub. */
const hubName = (name: string | null) => name !== null && /^[\w.-]+\/[\w.-]+$/.test(name) ? name : "";

function Where(): JSX.Element {
  const { broker, training, model, base } = link!;
  const isEncrypted = broker.startsWith("wss:");
  return (
    <section class="panel" aria-labelledby="where">
      <h2 id="where">What it connects to</h2>
      <dl class="facts wide">
        <Fact name="Broker" note={isEncrypted ? "encrypted" : "not encrypted: for a network that you trust"}>
          {broker.replace(/^wss?:\/\//, "")}
        </Fact>
        {training !== null && <Fact name="Training">{training}</Fact>}
        {model !== null && (
          <Fact name="Base model" note={base === null ? undefined : `SHA-256 ${short(base)}…`}>
            {model}
          </Fact>
        )}
      </dl>
      <p>
        It fetches the training's data and what was learned so far from this broker, computes a part of each
        step on this device, and sends the result back. Nothing else leaves this tab.
      </p>
      <p class="quiet">
        Join if you know who sent you the link. You may leave, close the tab or lose your connection at any
        time: somebody else computes your part then, and the training ends the same, to the last bit on
        devices of one kind.
      </p>
      <More
        label={user.value || token.value
          ? "Credentials: given by the link"
          : "Credentials, if the broker asks"}
        isOpen={working.error.value?.kind === "broker-login"}
      >
        <form class="fields" onSubmit={(event) => event.preventDefault()}>
          <TextField label="User" value={user.value} onInput={(value) => user.value = value} />
          <TextField
            label="Password"
            isSecret
            value={password.value}
            onInput={(value) => password.value = value}
          />
          <TextField
            label="Or a token"
            help="They are sent to this broker alone, and not kept."
            isSecret
            value={token.value}
            onInput={(value) => token.value = value}
          />
        </form>
      </More>
    </section>
  );
}

function Chosen(): JSX.Element {
  const { base: needed, model } = link!;
  return (
    <ul class="rows">
      {bases.value.map(({ name, hash, bytes }) => (
        <li key={hash}>
          <div>
            <strong>{hash === needed ? model ?? name : name}</strong>
            <p class="quiet">{showBytes(bytes)}, SHA-256 {short(hash)}…</p>
          </div>
          <span class={needed !== null && hash !== needed ? "problem" : "quiet"}>
            {needed === null ? "may be used" : hash === needed ? "✓ the one that is needed" : "another model"}
          </span>
        </li>
      ))}
    </ul>
  );
}

function BaseModel(): JSX.Element {
  const { base, model } = link!;
  const ways = (
    <ModelWays
      act="use"
      onChoose={chooseBase}
      isDisabled={choosing.waitsFor.value !== null || status.value === "joining"}
      usualRepo={hubName(model)}
    />
  );
  return (
    <section class="steps" aria-labelledby="base-model">
      <h2 id="base-model">The base model</h2>
      <p class="quiet">
        It does not come from the broker: choose where this tab takes it from.{" "}
        {base !== null && "Its files must be the very same, which their hash tells."}
      </p>
      {bases.value.length > 0 && <Chosen />}
      {base !== null && bases.value.length > 0 && !hasBase.value && (
        <p class="problem" role="alert">
          The files that you chose are those of another model: the training needs files with SHA-256{" "}
          {short(base)}… Choose another, or ask whoever sent you the link where it is from.
        </p>
      )}
      <TaskState task={choosing} canCancel />
      {hasBase.value ? <More label="Choose another model">{ways}</More> : ways}
    </section>
  );
}

/** The view. */
export function Before(): JSX.Element {
  const isJoining = status.value === "joining";
  return (
    <>
      <Opening title="Lend this tab to a training">
        Somebody trains a model on several machines. This one can compute a part of it, for as long as you
        like.
      </Opening>
      <Where />
      <BaseModel />
      {working.error.value && <TaskState task={working} />}
      <div class="row">
        <button
          type="button"
          class="main large"
          disabled={!hasBase.value || isJoining || !environment.value || choosing.waitsFor.value !== null}
          onClick={join}
        >
          {isJoining ? "Joining…" : "Join"}
        </button>
        <span class="quiet">
          {!hasBase.value
            ? "First choose the base model."
            : "Until you press it, nothing is asked of the broker."}
        </span>
      </div>
    </>
  );
}
