// Before the first paint: the colour scheme that the reader chose here, else the system's.
const { dataset } = document.documentElement;
dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
try {
  const chosen = localStorage.getItem("studio.theme");
  if (chosen === "light" || chosen === "dark") dataset.theme = dataset.chosenTheme = chosen;
} catch {
  // Without storage the system's scheme holds.
}
