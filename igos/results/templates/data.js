// What the page shows: the rows with their figures; parts.js reads their maps.

const DATA = JSON.parse(document.getElementById("data").textContent);
DATA.items.forEach((item, i) => {
  item.book = DATA;
  item.index = i;
  item.source = DATA.runs.length > 1 ? `${DATA.runs[item.run].name}: ${item.method}` : item.method;
  item.words = `${item.name} ${DATA.pictures[item.picture].path}`.toLowerCase();
});
