// The words of the page's language; blanks such as {n} are filled in.

const words = JSON.parse(document.getElementById("strings").textContent);

export function t(key, values = {}) {
  return words[key].replace(/{(\w+)}/g, (_, name) => values[name]);
}
