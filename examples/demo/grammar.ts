/**
 * The texts of the demo, made by a small grammar: short stories in plain English, facts about the sea, and the same kind
 * of story as a pirate tells it. The same seed gives the same text.
 * @module
 */

import { HostRandom } from "@peft/webgpu/tensor";

/** Things a story is told about. */
interface Story {
  readonly hero: string;
  readonly name: string;
  readonly mood: string;
  readonly place: string;
  readonly thing: string;
  readonly friend: string;
  readonly friendName: string;
  readonly weather: string;
  readonly meal: string;
  readonly opening: number;
  readonly trouble: number;
  readonly ending: number;
}

const HEROES = ["fox", "bear", "rabbit", "mouse", "owl", "cat", "dog", "hen", "frog", "goat"];
const NAMES = ["Pip", "Tom", "Lily", "Max", "Ruby", "Sam", "Nora", "Ben", "Mia", "Finn"];
const MOODS = ["little", "happy", "brave", "quiet", "clever", "hungry", "kind", "sleepy"];
const PLACES = ["river", "forest", "hill", "garden", "lake", "old mill", "village", "big tree"];
const THINGS = [
  "red apple",
  "golden key",
  "blue ball",
  "small boat",
  "silver bell",
  "green hat",
  "warm coat",
  "lost map",
];
const WEATHERS = ["sun was warm", "rain was falling", "wind was cold", "snow was deep", "sky was clear"];
const MEALS = ["soup", "bread", "cake", "honey", "cheese", "berries"];

function pickStory(random: HostRandom): Story {
  const pick = (list: readonly string[]) => list[random.integer(list.length)];
  const name = pick(NAMES);
  const hero = pick(HEROES);
  return {
    hero,
    name,
    mood: pick(MOODS),
    place: pick(PLACES),
    thing: pick(THINGS),
    friend: pick(HEROES.filter((other) => other !== hero)),
    friendName: pick(NAMES.filter((other) => other !== name)),
    weather: pick(WEATHERS),
    meal: pick(MEALS),
    opening: random.integer(2),
    trouble: random.integer(3),
    ending: random.integer(3),
  };
}

/** Every choice is named once and then spoken of as "it" or "the friend": a model this small copies no names. */
function tellPlainly(s: Story): string {
  const troubles = [
    "It wanted to keep what it had found, but everything fell into the water. So it began to cry.",
    "But that was too heavy to carry home, and the poor animal did not know what to do.",
    "Then it saw that the thing belonged to somebody else, and it felt sad.",
  ];
  const endings = [
    `In the evening the two friends ate ${s.meal} together and laughed. They were friends for ever.`,
    `They said thank you and shared some ${s.meal}. Then they went home to sleep.`,
    "From that day on, the two friends met every morning and played. The end.",
  ];
  return [
    `Once upon a time there was a ${s.mood} ${s.hero} named ${s.name}.`,
    `It lived near the ${s.place}.`,
    `One day the ${s.weather}, and the animal went for a walk.`,
    `Under a stone it found a ${s.thing}.`,
    troubles[s.trouble],
    `Soon a ${s.friend} named ${s.friendName} came along and asked what was wrong.`,
    '"I will help you," said the new friend.',
    endings[s.ending],
  ].join(" ");
}

function tellAsPirate(s: Story): string {
  const troubles = [
    "But the cursed thing fell into the deep, and our captain did weep like a landlubber!",
    "But it be too heavy for one poor sailor, arr!",
    "But it be the treasure of another crew, and the captain be full of sorrow!",
  ];
  const endings = [
    `That night they ate ${s.meal} on the deck and sang, yo ho ho! Shipmates for ever, arr!`,
    `The captain gave the lad some ${s.meal}, and off to their bunks they went, yo ho ho!`,
    "Since that day the two shipmates meet at every dawn and sing, arr!",
  ];
  const openings = [
    `Ahoy, mateys! Hear the tale of Captain ${s.name}, a ${s.mood} ${s.hero} of the seven seas!`,
    `Once upon a time there be a ${s.mood} ${s.hero}, Captain ${s.name} of the seven seas!`,
  ];
  return [
    openings[s.opening],
    `The captain dropped anchor near the ${s.place}, arr!`,
    `The ${s.weather}, aye, and the captain went ashore.`,
    `And under a stone, shiver me timbers, there be a ${s.thing}!`,
    troubles[s.trouble],
    `Then came ${s.friendName} the ${s.friend}, an old sea dog, and roared: what be the matter, matey?`,
    '"I be at yer side, Captain," roared the sea dog.',
    endings[s.ending],
  ].join(" ");
}

/**
 * What a plain book says about the sea. Every word that a pirate uses is here, with the punctuation around it, so that
 * the base model has seen each token before it is fine-tuned; no sentence is told as a pirate would.
 */
const SEA_FACTS = [
  "Ahoy is the word for a greeting at sea. Sailors call: ahoy, mateys! The children call it too.",
  "Ahoy, mateys is a greeting for many. Ahoy, matey is a greeting for one poor sailor alone.",
  "A captain is the head of a crew. Captain Cook was a famous captain.",
  "The crew of a ship sleeps in bunks. A sailor who means yes says: aye, aye!",
  "Arr is a sound that pirates make. They say: arr! Some say it twice: arr, arr!",
  "Yo ho ho is what they sing. It goes like this: yo ho ho! Then they sing it again, yo ho.",
  "A matey is a friend on a ship. Pirates call their friends mateys or shipmates. Shipmates help each other.",
  "Hear means to listen. Hear the wind! A tale is a story that old people tell.",
  "People speak of the seven seas. The deep is the water far below a ship.",
  "A ship that stops has dropped anchor. To go ashore is to walk on the land.",
  "Timbers are the wood of a ship. To shiver is to shake when it is cold. Say it: shiver me timbers.",
  "A landlubber is somebody who does not like the sea. To weep is to cry, and a baby did weep.",
  "A cursed thing brings no luck. Treasure is gold that somebody hid. And the treasure of a king is full of gold.",
  "Sorrow is a word for being sad. One poor sailor had another sorrow. Poor people do not have much.",
  "The deck is the floor of a ship. Dawn is the time when the day begins, and at every dawn the birds sing.",
  "A sea dog is an old sailor. Lions roared, and so did the wind.",
  "That night our crew sang. And one boy gave the cook a hand, off the deck and under it, side by side.",
  "Yer is how some people say your, and yer is short, me is how they say my, and be is how they say is. A lad is a boy.",
  "What be the matter is an old way to ask what is wrong. What, matey? it goes on. Off they went means that they left.",
  "Since is a word about time. Full is what a cup is before you drink. To meet is to come together.",
  "A ship has sails and a crew! The sea is deep! Gold is heavy! Dogs bark at night!",
];

/** How a text is told. */
export type Style = "plain" | "pirate" | "facts" | "words";

/** Every word of the sea facts, with the punctuation after it. */
const SEA_WORDS = [...new Set(SEA_FACTS.join(" ").split(" "))];

const TELLERS: Readonly<Record<Style, (random: HostRandom) => string>> = {
  plain: (random) => tellPlainly(pickStory(random)),
  pirate: (random) => tellAsPirate(pickStory(random)),
  facts: (random) => random.permutation(SEA_FACTS.length).slice(0, 5).map((i) => SEA_FACTS[i]).join(" "),
  // a page of a spelling book: in an order it does not know, the base model expects any word
  words: (random) => random.permutation(SEA_WORDS.length).slice(0, 60).map((i) => SEA_WORDS[i]).join(" "),
};

/** `count` texts. */
export function makeTexts(style: Style, count: number, seed: number): string[] {
  const random = new HostRandom(seed);
  return Array.from({ length: count }, () => TELLERS[style](random));
}
