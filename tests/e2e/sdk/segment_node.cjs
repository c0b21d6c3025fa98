// Sends with @segment/analytics-node: URL, write key, what (`each` kind of call once, or a number of tracks).
const { Analytics } = require('@segment/analytics-node');
const calls = require('./calls.json');

const [url, writeKey, what] = process.argv.slice(2);
const analytics = new Analytics({ writeKey, host: url, ...(what === 'each' ? {} : { flushAt: 5 }) });
analytics.on('error', (error) => console.error('error', error));
const { userId } = calls;
if (what === 'each') {
  analytics.identify({ userId, traits: calls.traits });
  analytics.track({ userId, event: calls.event, properties: calls.properties });
  analytics.page({ userId, name: calls.page, properties: calls.pageProperties });
  analytics.screen({ userId, name: calls.screen, properties: calls.screenProperties });
  analytics.group({ userId, groupId: calls.groupId, traits: calls.groupTraits });
  analytics.alias({ previousId: calls.previousId, userId });
} else {
  for (let n = 0; n < Number(what); n += 1) analytics.track({ userId, event: 'Burst', properties: { n } });
}
analytics.closeAndFlush();
