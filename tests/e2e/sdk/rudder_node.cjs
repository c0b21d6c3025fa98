// Sends with @rudderstack/rudder-sdk-node: URL, write key, what (`each` kind of call once, or a number of tracks).
const RudderAnalytics = require('@rudderstack/rudder-sdk-node');
const calls = require('./calls.json');

const [dataPlaneUrl, writeKey, what] = process.argv.slice(2);
const client = new RudderAnalytics(writeKey, { dataPlaneUrl, ...(what === 'each' ? {} : { flushAt: 5 }) });
const { userId } = calls;
if (what === 'each') {
  client.identify({ userId, traits: calls.traits });
  client.track({ userId, event: calls.event, properties: calls.properties });
  client.page({ userId, name: calls.page, properties: calls.pageProperties });
  client.screen({ userId, name: calls.screen, properties: calls.screenProperties });
  client.group({ userId, groupId: calls.groupId, traits: calls.groupTraits });
  client.alias({ previousId: calls.previousId, userId });
} else {
  for (let n = 0; n < Number(what); n += 1) client.track({ userId, event: 'Burst', properties: { n } });
}
client.flush();
