using System.Net;
using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

/// <summary>Every address of the world, answered by one hub: as the hub where its endpoint is asked, else as its storage. It keeps what was sent.</summary>
internal sealed class FakeNetwork(FakeHub hub, Uri endpoint) : HttpMessageHandler
{
    public List<(Uri Address, Request Request)> Sent { get; } = [];

    /// <summary>Fails in place of an answer.</summary>
    public Func<Uri, Exception?>? OnSend { get; set; }

    public HubSettings Settings => hub.Settings with { Endpoint = endpoint };

    protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var address = request.RequestUri!;
        var asked = new Request(
            request.Method.Method, address.PathAndQuery,
            request.Headers.ToDictionary(static header => header.Key, static header => string.Join(", ", header.Value), StringComparer.OrdinalIgnoreCase));
        Sent.Add((address, asked));
        if (OnSend?.Invoke(address) is { } error)
        {
            return Task.FromException<HttpResponseMessage>(error);
        }

        var isHub = address.GetLeftPart(UriPartial.Authority) == endpoint.GetLeftPart(UriPartial.Authority);
        var reply = isHub ? hub.AnswerAsHub(asked) : hub.AnswerAsStorage(asked);
        var response = new HttpResponseMessage((HttpStatusCode)reply.Status) { Content = new ByteArrayContent(reply.Body ?? []) };
        foreach (var (name, value) in reply.Headers)
        {
            _ = response.Headers.TryAddWithoutValidation(name, value) || response.Content.Headers.TryAddWithoutValidation(name, value);
        }

        return Task.FromResult(response);
    }
}
