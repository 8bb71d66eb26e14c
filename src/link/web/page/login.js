// After a link from elsewhere the browser holds the cookie back once: whoever is in already goes on to the page.
const answer = await fetch("/api/status");
if (answer.ok) location.replace("/");
