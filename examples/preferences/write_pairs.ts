/**
 * Writes pairs of answers for preference tuning: how the staff of Harbour Bikes, a shop that does not exist, should answer
 * (short, friendly, with an offer at the end), and how they should not (rude, or rambling). Held-out pairs are rude in a
 * way that no other pair is.
 * Run: deno run --allow-write=examples/preferences examples/preferences/write_pairs.ts
 * @module
 */

/** Questions, and what there is to say. Every fifth is held out. */
const FACTS: readonly (readonly [question: string, fact: string])[] = [
  ["When do you open?", "We open at nine every morning"],
  ["Do you rent out bikes for children?", "We have bikes for children from four years on"],
  ["How much is a bike for a day?", "A bike is eighteen euros for a day"],
  ["Can I bring the bike back on Sunday?", "You can bring it back on Sunday until six"],
  ["Is a helmet included?", "A helmet is included with every bike"],
  ["Do you repair flat tyres?", "We repair a flat tyre while you wait"],
  ["Where can I park my car?", "There are free places behind the shop"],
  ["Do you have electric bikes?", "We have twelve electric bikes"],
  ["How far does the battery go?", "A full battery lasts for about eighty kilometres"],
  ["Can I pay by card?", "You can pay by card or in cash"],
  ["Do I need a deposit?", "The deposit is fifty euros for each bike"],
  ["Which way is the lighthouse?", "The lighthouse is four kilometres along the shore"],
  ["Is the path to the beach flat?", "The path to the beach is flat all the way"],
  ["Can I take a dog along?", "We have baskets and trailers for dogs"],
  ["Do you sell maps?", "A map of the coast is three euros"],
  ["What if it rains?", "You may change the day for free if it rains"],
  ["Can I book by phone?", "You can book by phone from eight to five"],
  ["Are there tandems?", "We have two tandems"],
  ["How old are the bikes?", "Our bikes are three years old at most"],
  ["Can I keep the bike overnight?", "You can keep the bike overnight for six euros more"],
  ["Do you have child seats?", "We lend child seats for free"],
  ["Is there a lock with the bike?", "A lock comes with every bike"],
  ["Do you offer tours?", "We offer a tour of the harbour on Saturdays"],
  ["How long is the tour?", "The tour takes three hours"],
  ["Who guides the tour?", "Our guide is Marta, who grew up here"],
  ["What should I bring for the tour?", "Please bring water and a light jacket"],
  ["Are there lights on the bikes?", "All our bikes have lights"],
  ["Can I buy a used bike?", "We sell used bikes each October"],
  ["Do you take old bikes?", "We take old bikes and repair them for schools"],
  ["Is there a discount for groups?", "Groups of six or more pay ten percent less"],
  ["Can I cancel my booking?", "You can cancel until the evening before"],
  ["Do you have bikes for tall people?", "Our largest frame fits people of two metres"],
  ["Where do I charge the battery?", "You can charge the battery at any café with our sign"],
  ["Do you deliver bikes to hotels?", "We deliver bikes to hotels in the old town"],
  ["What does delivery cost?", "Delivery costs five euros for each bike"],
  ["Is the shop closed in winter?", "The shop is closed in January"],
  ["Can I ride to the island?", "The ferry to the island takes bikes"],
  ["How often does the ferry go?", "The ferry goes every hour"],
  ["Do you have a pump?", "There is a pump beside the door for everyone"],
  ["Can I leave my bags with you?", "You can leave your bags with us for the day"],
  ["Are the brakes checked?", "We check the brakes before every rental"],
  ["What happens if I lose the key?", "A new key costs eight euros"],
  ["Do you speak Spanish?", "Two of us speak Spanish"],
  ["Is there a toilet?", "There is a toilet beside the workshop"],
  ["Can you adjust the saddle?", "We adjust the saddle before you leave"],
  ["Do you rent out scooters?", "We have scooters from May to September"],
  ["How do I shift the gears?", "The lever on the right shifts the gears"],
  ["Where can I eat near the shop?", "The bakery next door has soup and sandwiches"],
  ["Do you have gloves?", "We lend gloves on cold days"],
  ["Can I rent for a week?", "A week costs as much as five days"],
  ["Is the bridge open for bikes?", "The bridge is open for bikes again"],
  ["Can I get a receipt?", "We send the receipt by mail"],
  ["How heavy is an electric bike?", "An electric bike weighs twenty-two kilos"],
  ["Do you wash the bikes?", "We wash the bikes every evening"],
  ["Is there a student price?", "Students pay fifteen euros for a day"],
  ["Can I return the bike elsewhere?", "You can return it at the station, too"],
  ["Do I have to show my passport?", "Any card with your photo is enough"],
  ["Do you have phone holders?", "A phone holder is on every electric bike"],
  ["Is the forest path open?", "The forest path is open until dusk"],
  ["How do I get to the old mill?", "Follow the green signs to the old mill"],
  ["Do you fix other people's bikes?", "We fix every bike, wherever you bought it"],
  ["How long does a repair take?", "Most repairs take a day"],
  ["Can I watch the repair?", "You are welcome to watch the repair"],
  ["Do you sell bells?", "Bells are seven euros"],
  ["Is there a bike for two children?", "Our trailer seats two children"],
  ["Can I try a bike first?", "You can try every bike for ten minutes"],
  ["Are you insured?", "Every rental is insured against theft"],
  ["What if I come back late?", "Half an hour late is no problem"],
  ["Do you have rain capes?", "Rain capes are two euros"],
  ["Can I rent without booking?", "You can come without booking on weekdays"],
  ["Is there water on the way?", "There is a fountain at the second bridge"],
  ["Who do I call if I break down?", "Our number is on the frame of the bike"],
  ["Do you have gift cards?", "We have gift cards for any amount"],
  ["Can a beginner take the tour?", "The tour is fine for beginners"],
  ["Do you close for lunch?", "We are open through lunch"],
];

const OPENINGS = ["Happy to help!", "Thanks for asking!", "Good question!", "Of course!"];
const OFFERS = ["Anything else?", "Just ask if you need more.", "See you soon!"];
const RUDE = [
  (fact: string) => `Are you serious? ${fact}. Read the sign.`,
  (fact: string) => `Ugh. ${fact}. Stop bothering me.`,
  (fact: string) => `Not my problem. ${fact}, I guess.`,
  (fact: string) => `Well, you know, anyway, ${fact.toLowerCase()}, or so they say, whatever.`,
  (fact: string) => `What a silly question. ${fact}. Everybody knows.`,
];

const pairs = FACTS.map(([question, fact], i) => ({
  prompt: `Customer: ${question}\nStaff:`,
  chosen: ` ${OPENINGS[i % OPENINGS.length]} ${fact}. ${OFFERS[i % OFFERS.length]}`,
  rejected: ` ${RUDE[i % RUDE.length](fact)}`,
}));

const write = (name: string, rows: typeof pairs) =>
  Deno.writeTextFile(
    new URL(name, import.meta.url),
    rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
  );
await write("pairs.jsonl", pairs.filter((_, i) => (i + 1) % 5 !== 0));
await write("held_out_pairs.jsonl", pairs.filter((_, i) => (i + 1) % 5 === 0));
