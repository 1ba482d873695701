using System.Threading.Channels;
using LoraNotebooks.Hub;
using Microsoft.Extensions.Time.Testing;

namespace LoraNotebooks.Tests.Hub;

/// <summary>What a server is sent, and what its answers lead to.</summary>
public sealed class HubRequestTests
{
    private const string Weights = "unet/model.safetensors";
    private const string Config = "a b#c/config.json";

    private static readonly Uri World = new("https://hub.example");

    private static FakeHub Model() => new((Weights, FakeHub.Bytes(1000)), (Config, "{}"u8.ToArray()));

    [Fact]
    public async Task Download_EveryRequest_SendsTheseHeadersAndNoOthers()
    {
        using var hub = Model();
        hub.OnHub = request => hub.Usual(request).With("Set-Cookie", "session=1");
        hub.OnStorage = request => FakeHub.Serve(request, hub.Files[Weights]) with { BreakAfter = 600 };

        await hub.DownloadAsync();

        string[] always = ["Accept-Encoding: identity", $"Host: {hub.Settings.Endpoint.Authority}", "User-Agent: lora-notebooks/0.1"];
        Assert.All(hub.HubRequests, request =>
        {
            string[] range = request.From is { } from ? [$"Range: bytes={from}-"] : [];
            Assert.Equal([always[0], $"Authorization: Bearer {FakeHub.Secret}", always[1], .. range, always[2]], Lines(request));
        });
        always[1] = $"Host: {hub.StorageAddress.Authority}";
        Assert.Equal([always, [.. always[..2], "Range: bytes=600-", always[2]]], hub.StorageRequests.Select(Lines));

        static string[] Lines(Request request) => [.. request.Headers.Select(static header => $"{header.Key}: {header.Value}").Order(StringComparer.Ordinal)];
    }

    [Fact]
    public async Task Download_EveryRequest_GoesToTheseAddresses()
    {
        using var hub = Model();

        await hub.DownloadAsync();

        var resolve = $"/{FakeHub.Name}/resolve/{FakeHub.Commit}";
        Assert.Equal(
            [
                $"GET /api/models/{FakeHub.Name}/revision/main?blobs=true",
                $"HEAD {resolve}/a%20b%23c/config.json",
                $"HEAD {resolve}/{Weights}",
                $"GET {resolve}/a%20b%23c/config.json",
                $"GET {resolve}/{Weights}",
            ],
            hub.HubRequests.Select(static request => $"{request.Method} {request.Path}"));
        Assert.Equal([$"GET /{Weights}?signature=opens-the-file"], hub.StorageRequests.Select(static request => $"{request.Method} {request.Path}"));
    }

    [Fact]
    public async Task Download_MirrorBelowAPath_IsAskedBelowIt()
    {
        using var hub = Model();
        var network = new FakeNetwork(hub, new Uri("https://mirror.example/hub/"));
        hub.OnHub = request => request.Path.StartsWith("/hub/", StringComparison.Ordinal)
            ? hub.Usual(request with { Path = request.Path["/hub".Length..] })
            : new Reply(404);

        await Assert.ThrowsAsync<HubException>(() => DownloadAsync(hub, network));

        Assert.Equal($"https://mirror.example/hub/api/models/{FakeHub.Name}/revision/main?blobs=true", network.Sent[0].Address.AbsoluteUri);
        Assert.Equal($"https://mirror.example/hub/{FakeHub.Name}/resolve/{FakeHub.Commit}/a%20b%23c/config.json", network.Sent[1].Address.AbsoluteUri);
    }

    [Theory]
    [InlineData(408)]
    [InlineData(429)]
    [InlineData(500)]
    [InlineData(502)]
    [InlineData(503)]
    [InlineData(504)]
    public async Task Download_AnswerThatMayPass_IsTriedAgain(int status)
    {
        using var hub = Model();
        hub.OnHub = _ => hub.HubRequests.Count == 1 ? new Reply(status) : null;

        await hub.DownloadAsync();

        Assert.Equal([1.0], hub.Waits.Select(static wait => wait.TotalSeconds));
    }

    [Theory]
    [InlineData(204)]
    [InlineData(304)]
    [InlineData(400)]
    [InlineData(501)]
    [InlineData(505)]
    public async Task Download_OtherAnswer_IsFinal(int status)
    {
        using var hub = Model();
        hub.OnHub = _ => new Reply(status);

        var error = await hub.FailAsync();

        Assert.Empty(hub.Waits);
        Assert.Single(hub.HubRequests);
        Assert.Equal(status == 204 ? HubFailure.Damaged : HubFailure.Unreachable, error.Failure);
    }

    [Theory]
    [InlineData(301)]
    [InlineData(302)]
    [InlineData(303)]
    [InlineData(307)]
    [InlineData(308)]
    public async Task Redirect_OfEachKind_IsFollowedWithTheSameMethod(int status)
    {
        using var hub = Model();
        hub.OnHub = request => request.Path.StartsWith("/moved", StringComparison.Ordinal)
            ? hub.Usual(request with { Path = request.Path["/moved".Length..] })
            : new Reply(status) { Headers = { ["Location"] = "/moved" + request.Path } };

        await hub.DownloadAsync();

        Assert.Equal(["GET", "GET", "HEAD", "HEAD", "HEAD", "HEAD", "GET", "GET", "GET", "GET"], hub.HubRequests.Select(static request => request.Method));
        Assert.Equal(5, hub.HubRequests.Count(static request => request.Path.StartsWith("/moved", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Redirect_ThatNamesNoAddress_IsNoAnswer()
    {
        using var hub = Model();
        hub.OnHub = _ => new Reply(302);

        var error = await hub.FailAsync();

        Assert.Contains("answers 302", error.Message);
        Assert.Single(hub.HubRequests);
    }

    [Theory]
    [InlineData(10, true)]
    [InlineData(11, false)]
    public async Task Redirect_ManyInARow_AreFollowedTenTimes(int redirects, bool isFollowed)
    {
        using var hub = Model();
        hub.OnHub = request => !request.Path.StartsWith("/api", StringComparison.Ordinal) && !request.Path.StartsWith("/hop", StringComparison.Ordinal) ? null
            : hub.HubRequests.Count <= redirects ? Reply.To($"/hop/{hub.HubRequests.Count}")
            : hub.Usual(new Request("GET", $"/api/models/{FakeHub.Name}/revision/main", request.Headers));

        if (isFollowed)
        {
            await hub.DownloadAsync();
            return;
        }

        var error = await hub.FailAsync();
        Assert.Equal(HubFailure.Unreachable, error.Failure);
        Assert.Contains("/hop/11' leads on after 10 redirects", error.Message);
        Assert.Equal(11, hub.HubRequests.Count);
        Assert.Empty(hub.Waits);
    }

    [Theory]
    [InlineData(0, 90)]
    [InlineData(60, 30)]
    [InlineData(90, 0)]
    [InlineData(120, 0)]
    public async Task Download_RetryAfterADate_WaitsUntilThen(int nowSeconds, double expected)
    {
        using var hub = Model();
        var start = new DateTimeOffset(2031, 5, 6, 7, 8, 9, TimeSpan.Zero);
        var time = new FakeTimeProvider(start.AddSeconds(nowSeconds));
        hub.OnHub = _ => hub.HubRequests.Count == 1 ? new Reply(503) { Headers = { ["Retry-After"] = start.AddSeconds(90).ToString("r") } } : null;
        using var client = hub.Client(time: time);

        await client.DownloadAsync(FakeHub.Id);

        Assert.Equal([expected], hub.Waits.Select(static wait => wait.TotalSeconds));
    }

    [Theory]
    [InlineData(HttpRequestError.NameResolutionError)]
    [InlineData(HttpRequestError.SecureConnectionError)]
    [InlineData(HttpRequestError.ProxyTunnelError)]
    public async Task Download_HostThatIsNone_IsNotTriedAgain(HttpRequestError kind)
    {
        using var hub = Model();
        var network = new FakeNetwork(hub, World) { OnSend = _ => new HttpRequestException(kind, "No such thing.") };

        var error = await Assert.ThrowsAsync<HubException>(() => DownloadAsync(hub, network));

        Assert.Equal(HubFailure.Unreachable, error.Failure);
        Assert.Equal(
            "'hub.example' cannot be reached: No such thing. Check the network, HF_ENDPOINT and HTTPS_PROXY. With HF_HUB_OFFLINE=1 only the cache is used.",
            error.Message);
        Assert.Empty(hub.Waits);
    }

    [Fact]
    public async Task Download_ConnectionThatFails_IsTriedAgain()
    {
        using var hub = Model();
        var network = new FakeNetwork(hub, World) { OnSend = _ => new HttpRequestException(HttpRequestError.ConnectionError, "Refused.") };

        var error = await Assert.ThrowsAsync<HubException>(() => DownloadAsync(hub, network));

        Assert.StartsWith($"'https://hub.example/api/models/{FakeHub.Name}/revision/main' cannot be reached: Refused. 6 attempts failed.", error.Message);
        Assert.Equal(6, network.Sent.Count);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Download_SilenceBeforeAnAnswer_EndsAfterHalfAMinute(bool isCancelled)
    {
        using var hub = Model();
        using var stop = new CancellationTokenSource();
        using var network = new SilentNetwork();
        var time = new FakeTimeProvider();
        using var client = hub.Client(new HubSettings { CacheFolder = hub.Cache, Endpoint = World }, time, network);
        var download = client.DownloadAsync(FakeHub.Id, cancellationToken: stop.Token);

        if (isCancelled)
        {
            stop.Cancel();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => download);
            return;
        }

        for (var i = 1; i <= Attempts.Most; i++)
        {
            var asked = await network.Asked.Reader.ReadAsync();
            time.Advance(TimeSpan.FromSeconds(29.9));
            Assert.False(asked.IsCancellationRequested);
            time.Advance(TimeSpan.FromSeconds(0.1));
            Assert.True(asked.IsCancellationRequested);
        }

        var error = await Assert.ThrowsAsync<HubException>(() => download);
        Assert.Contains("did not answer within 30 seconds. 6 attempts failed", error.Message);
    }

    [Fact]
    public async Task Download_Offline_NamesTheAddressAndTheVariables()
    {
        using var hub = Model();
        using var client = hub.Client(hub.Settings with { Offline = true });

        var error = await Assert.ThrowsAsync<HubException>(() => client.DownloadAsync(FakeHub.Id));

        Assert.Equal(
            $"'{hub.Settings.Endpoint}api/models/{FakeHub.Name}/revision/main' was not asked: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set. Unset it to " +
            $"use the network.",
            error.Message);
    }

    private static async Task<string> DownloadAsync(FakeHub hub, FakeNetwork network)
    {
        using var client = hub.Client(network.Settings, network: network);
        return await client.DownloadAsync(FakeHub.Id);
    }

    /// <summary>Never answers.</summary>
    private sealed class SilentNetwork : HttpMessageHandler
    {
        public Channel<CancellationToken> Asked { get; } = Channel.CreateUnbounded<CancellationToken>();

        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Asked.Writer.TryWrite(cancellationToken);
            var never = new TaskCompletionSource<HttpResponseMessage>();
            cancellationToken.Register(() => never.TrySetCanceled(cancellationToken));
            return never.Task;
        }
    }
}
