using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

/// <summary>Who is told the token, where a server may lead, and what it may name.</summary>
public sealed class HubSecurityTests
{
    private const string Weights = "model.safetensors";

    private static FakeHub Model() => new((Weights, FakeHub.Bytes(1000)), ("config.json", "{}"u8.ToArray()));

    [Fact]
    public async Task Token_OnARedirectToAnotherHost_StaysWithTheHub()
    {
        using var hub = Model();

        await hub.DownloadAsync();

        Assert.All(hub.HubRequests, request => Assert.Equal($"Bearer {FakeHub.Secret}", request.Header("Authorization")));
        Assert.Null(Assert.Single(hub.StorageRequests).Header("Authorization"));
    }

    // Endpoint; where it says that the weights are; whether that address may be asked, and told the token.
    [Theory]
    [InlineData("https://hub.example", "https://hub.example/else", true)]
    [InlineData("https://hub.example", "https://HUB.example:443/else", true)]
    [InlineData("https://hub.example", "/else", true)]
    [InlineData("https://hub.example/mirror", "https://hub.example/else", true)]
    [InlineData("https://hub.example", "https://storage.example/else", false)]
    [InlineData("https://hub.example", "https://cdn.hub.example/else", false)]
    [InlineData("https://hub.example", "https://hub.example.storage.example/else", false)]
    [InlineData("https://hub.example", "https://hub.example:8443/else", false)]
    [InlineData("https://hub.example", "https://hub.example@storage.example/else", false)]
    [InlineData("https://hub.example", "http://hub.example/else", null)]
    [InlineData("https://hub.example", "http://127.0.0.1/else", null)]
    [InlineData("http://hub.example", "http://hub.example/else", false)]
    [InlineData("http://hub.example", "https://hub.example/else", false)]
    [InlineData("http://hub.example", "http://storage.example/else", null)]
    [InlineData("http://hub.example", "http://127.0.0.1/else", null)]
    [InlineData("http://127.0.0.1:8080", "http://127.0.0.1:8080/else", true)]
    [InlineData("http://localhost:8080", "http://localhost:8080/else", true)]
    [InlineData("http://127.0.0.1:8080", "http://127.0.0.1:8081/else", false)]
    [InlineData("http://127.0.0.1:8080", "http://localhost:8080/else", false)]
    [InlineData("http://127.0.0.1:8080", "http://storage.example/else", null)]
    public async Task Token_AndRedirects_AreForTheHubByASafeWayAlone(string endpoint, string location, bool? isTold)
    {
        using var hub = new FakeHub((Weights, FakeHub.Bytes(1000)));
        using var network = new FakeNetwork(hub, new Uri(endpoint));
        hub.OnHub = request => request.Path == "/else" ? FakeHub.Serve(request, hub.Files[Weights]).With("ETag", hub.Etag(Weights))
            : hub.Usual(request with { Path = request.Path.Replace("/mirror", "") }) is { Status: 302 } link ? link.With("Location", location)
            : hub.Usual(request with { Path = request.Path.Replace("/mirror", "") });
        hub.OnStorage = request => FakeHub.Serve(request, hub.Files[Weights]);
        using var client = hub.Client(network.Settings, network: network);

        var error = await Record.ExceptionAsync(() => client.DownloadAsync(FakeHub.Id));

        Assert.Equal(isTold is null ? HubFailure.Refused : null, (error as HubException)?.Failure);
        Assert.DoesNotContain(FakeHub.Secret, $"{error}");
        Assert.DoesNotContain(FakeHub.Secret, string.Concat(network.Sent.Select(static sent => sent.Address)));
        var last = network.Sent[^1];
        Assert.Equal(isTold is not null, last.Address.AbsolutePath == "/else");
        Assert.Equal(isTold == true ? $"Bearer {FakeHub.Secret}" : null, isTold is null ? null : last.Request.Header("Authorization"));

        // Of the hub itself all is asked with the token, if it cannot be overheard.
        var isSafe = endpoint.StartsWith("https", StringComparison.Ordinal) || !endpoint.Contains("example");
        Assert.All(network.Sent.Take(3), sent => Assert.Equal(isSafe ? $"Bearer {FakeHub.Secret}" : null, sent.Request.Header("Authorization")));
    }

    [Fact]
    public void Token_InTexts_IsNotShown()
    {
        using var hub = Model();

        Assert.DoesNotContain(FakeHub.Secret, hub.Settings.ToString());
        Assert.DoesNotContain("top secret", Assert.Throws<ArgumentException>(() => new HubToken("top secret")).Message);
    }

    [Fact]
    public async Task Token_ThatTheServerRepeats_IsNotInTheError()
    {
        using var hub = Model();
        hub.OnHub = _ => new Reply(403) { Headers = { ["X-Error-Message"] = $"token {FakeHub.Secret} is unknown" } };

        var error = await hub.FailAsync();

        Assert.Contains("(it says: token (access token) is unknown)", error.Message);
    }

    // What a server can put the token into: what it says of it, how it names its answer, a file, a blob, a commit, another address, a part of a file.
    [Theory]
    [InlineData("message")]
    [InlineData("reason")]
    [InlineData("busy")]
    [InlineData("file")]
    [InlineData("etag")]
    [InlineData("commit")]
    [InlineData("location")]
    [InlineData("range")]
    [InlineData("encoding")]
    public async Task Token_ThatTheServerRepeatsAnywhere_IsNotInTheError(string place)
    {
        using var hub = Model();
        const string said = FakeHub.Secret;
        Func<Request, Reply?> answer = place switch
        {
            "message" => _ => new Reply(418).With("X-Error-Message", $"no {said}"),
            "reason" => _ => new Reply(418) { Reason = $"Not by {said}" },
            "busy" => _ => new Reply(503) { Reason = $"Not by {said}" },
            "file" => _ => Reply.Json(FakeHub.Listing(FakeHub.Commit, [($"{said}:a.json", [])])),
            "etag" => request => request.Method == "HEAD" ? new Reply(200, [1]).With("ETag", $"+{said}") : null,
            "commit" => request => request.Method == "HEAD" ? new Reply(200, [1]).With("ETag", "a").With("X-Repo-Commit", said) : null,
            "location" => _ => Reply.To($"ftp://{said}/{said}"),
            "range" => request => IsConfig(request) ? new Reply(206, [1]).With("Content-Range", $"{said} 5-9/10") : null,
            _ => request => IsConfig(request) ? new Reply(200, "{}"u8.ToArray()).With("Content-Encoding", said) : null,
        };
        hub.OnHub = answer;

        var error = await hub.FailAsync();

        Assert.DoesNotContain(said, error.ToString(), StringComparison.OrdinalIgnoreCase);

        static bool IsConfig(Request request) => request.Method == "GET" && request.Path.EndsWith("config.json", StringComparison.Ordinal);
    }

    [Fact]
    public async Task Signature_OfTheStorage_IsNotInTheError()
    {
        using var hub = Model();
        hub.OnStorage = _ => new Reply(503);

        var error = await hub.FailAsync();

        Assert.Contains(hub.StorageAddress.Authority, error.Message);
        Assert.DoesNotContain("signature", error.ToString());
    }

    [Theory]
    [InlineData("http://storage.example/model.safetensors")]
    [InlineData("ftp://127.0.0.1/model.safetensors")]
    [InlineData("file:///etc/passwd")]
    public async Task Redirect_WithoutHttps_IsRefused(string location)
    {
        using var hub = Model();
        hub.OnHub = request => request.Method == "GET" && request.Path.EndsWith(Weights, StringComparison.Ordinal) ? Reply.To(location) : null;

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Refused, error.Failure);
        Assert.Contains(location, error.Message);
    }

    [Fact]
    public async Task Redirect_InACircle_Ends()
    {
        using var hub = Model();
        hub.OnHub = request => Reply.To(request.Path);

        var error = await hub.FailAsync();

        Assert.Contains("redirects", error.Message);
    }

    [Fact]
    public async Task Redirect_ToTheModelsNewName_IsFollowed()
    {
        using var hub = Model();
        hub.OnHub = request =>
            request.Path.Contains("painters/old", StringComparison.Ordinal) ? Reply.To(request.Path.Replace("painters/old", FakeHub.Name)) : null;

        var snapshot = await hub.DownloadAsync(id: HubId.Parse("painters/old"));

        Assert.Equal(hub.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(snapshot, Weights)));
        Assert.Contains("models--painters--old", snapshot);
    }

    [Theory]
    [InlineData("../../../outside.json")]
    [InlineData("unet/../../outside.json")]
    [InlineData("/etc/outside.json")]
    [InlineData("C:/outside.json")]
    [InlineData("unet\\..\\..\\outside.json")]
    [InlineData("unet/.. /outside.json")]
    [InlineData("unet//outside.json")]
    [InlineData("outside.json:stream.json")]
    [InlineData("./outside.json")]
    public async Task FileName_ThatLeavesTheSnapshot_IsRefusedByName(string name)
    {
        using var hub = Model();
        hub.OnHub = request =>
            request.Path.StartsWith("/api/", StringComparison.Ordinal) ? Reply.Json(FakeHub.Listing(FakeHub.Commit, [(name, "{}"u8.ToArray())])) : null;

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Refused, error.Failure);
        Assert.Contains($"'{name}'", error.Message);
        Assert.Empty(Directory.EnumerateFiles(hub.Cache, "*", SearchOption.AllDirectories));
        Assert.Single(hub.HubRequests);
    }

    [Theory]
    [InlineData("../../outside")]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData("")]
    public async Task Etag_ThatIsNoName_IsRefused(string etag)
    {
        using var hub = Model();
        hub.OnHub = request => request.Method == "HEAD" ? new Reply(200, FakeHub.Bytes(1000)) { Headers = { ["ETag"] = $"\"{etag}\"" } } : null;

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Refused, error.Failure);
    }

    [Fact]
    public async Task Commit_ThatIsNotTheListedOne_IsRefused()
    {
        using var hub = Model();
        hub.OnHub = request =>
            request.Method == "HEAD"
                ? new Reply(200, FakeHub.Bytes(1000)) { Headers = { ["ETag"] = new string('a', 40), ["X-Repo-Commit"] = new string('d', 40) } }
                : null;

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Damaged, error.Failure);
        Assert.Contains(new string('d', 40), error.Message);
    }

    [Fact]
    public async Task Refusal_OfAGatedModel_SaysWhatToDo()
    {
        using var hub = Model();
        hub.OnHub = request => request.Path.Contains("/resolve/") ? new Reply(403) { Headers = { ["X-Error-Code"] = "GatedRepo" } } : null;

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Denied, error.Failure);
        Assert.Contains("accept its terms", error.Message);
        Assert.Contains($"/{FakeHub.Name}", error.Message);
        Assert.Contains("HF_TOKEN", error.Message);
    }

    [Theory]
    [InlineData(401, null, HubFailure.Denied, "does not exist, or it is private or gated")]
    [InlineData(404, "RepoNotFound", HubFailure.NotFound, "There is no model painters/tiny")]
    [InlineData(404, "RevisionNotFound", HubFailure.NotFound, "has no revision 'main'")]
    [InlineData(400, null, HubFailure.Unreachable, "answers 400")]
    public async Task Refusal_OfTheList_SaysWhy(int status, string? code, HubFailure failure, string message)
    {
        using var hub = Model();
        hub.OnHub = _ => code is null ? new Reply(status) : new Reply(status) { Headers = { ["X-Error-Code"] = code } };

        var error = await hub.FailAsync();

        Assert.Equal(failure, error.Failure);
        Assert.Contains(message, error.Message);
        Assert.Empty(hub.Waits);
    }

    [Fact]
    public async Task Refusal_OfAFile_NamesIt()
    {
        using var hub = Model();
        hub.OnHub = request => request.Method == "HEAD" ? new Reply(404) { Headers = { ["X-Error-Code"] = "EntryNotFound" } } : null;

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.NotFound, error.Failure);
        Assert.Contains("'config.json'", error.Message);
    }
}
