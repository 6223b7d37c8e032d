/**
 * Begins the page: shows it, then starts the engine.
 * @module
 */
import { render } from "preact";
import "./style/main.css";
import { App } from "./app.tsx";
import { haltWith, startEngine } from "./engine.ts";
import type { EngineEvent } from "../protocol.ts";
import { announce } from "./state/announcement.ts";
import { refreshShelf } from "./state/shelf.ts";
import { findResumable, phase, phaseText, training } from "./state/training.ts";

const root = document.getElementById("studio")!;

/** Lets what is queued, such as a click, go first: no task holds the page up for long. */
const pause = () => new Promise((resolve) => setTimeout(resolve));

/** Takes what belongs to no call: a device that is lost. */
function onEvent(event: EngineEvent): void {
  if (event.event !== "deviceLost") return;
  if (event.recovering) {
    phase.value = "recovering";
    phaseText.value = event.error.title;
    announce(event.error.title);
  } else if (!haltWith(event.error)) training.error.value = event.error;
}

async function begin(): Promise<void> {
  await pause();
  root.replaceChildren();
  render(<App />, root);
  await pause();
  if (await startEngine(onEvent)) await Promise.all([refreshShelf(), findResumable()]);
}

begin();
