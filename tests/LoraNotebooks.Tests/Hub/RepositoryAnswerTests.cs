using System.Text.Json.Nodes;
using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

/// <summary>What a server says about a model and its files, and what is made of it.</summary>
public sealed class RepositoryAnswerTests
{
    private const string Name = "config.json";

    private static readonly byte[] Content = "{}"u8.ToArray();
    private static readonly string GitBlob = FakeHub.GitBlob(Content);
    private static readonly string Other = new('a', 40);

    [Theory]
    [InlineData("""{"rfilename": "config.json"}""", "config.json")]
    [InlineData("""{"rfilename": "config.json", "size": 2}""", "config.json")]
    [InlineData("""{"rfilename": "config.json", "size": -1}""", "config.json")]
    [InlineData("""{"rfilename": "config.json", "size": "long"}""", "config.json")]
    [InlineData("""{"rfilename": "config.json"}, {"rfilename": ""}, {"rfilename": 7}, {}, 8, null""", "config.json")]
    public async Task List_Entries_TakesThoseThatNameAFile(string entries, params string[] files)
    {
        using var hub = Model();
        hub.OnHub = request => IsList(request) ? List(entries) : null;

        var snapshot = await hub.DownloadAsync();

        Assert.Equal(files, Directory.GetFiles(snapshot).Select(Path.GetFileName));
    }

    [Fact]
    public async Task List_LargeFile_HasTheLengthAndChecksumOfItsContentAndNotOfItsPointer()
    {
        using var hub = Model();
        hub.OnHub = request => IsList(request)
            ? List($$"""{"rfilename": "config.json", "size": 130, "blobId": "{{Other}}", "lfs": {"sha256": "{{FakeHub.Sha256(Content)}}", "size": 2} }""")
            : request.Method == "HEAD" ? new Reply(302).With("Location", "https://storage.example/").With("ETag", "tag") : null;

        var snapshot = await hub.DownloadAsync();

        Assert.Equal(Content, await File.ReadAllBytesAsync(Path.Combine(snapshot, Name)));
        Assert.Equal("../../blobs/tag", new FileInfo(Path.Combine(snapshot, Name)).LinkTarget);
    }

    [Fact]
    public async Task List_GitsHash_ChecksAFileWhoseTagIsNone()
    {
        using var hub = Model();
        hub.OnHub = request => IsList(request) ? List($$"""{"rfilename": "config.json", "size": 2, "blobId": "{{new string('a', 40)}}"}""")
            : request.Method == "HEAD" ? new Reply(200, Content).With("ETag", "tag") : null;

        Assert.Contains($"has the checksum {GitBlob}; expected {new string('a', 40)}.", (await hub.FailAsync()).Message);
    }

    // Headers of the answer to HEAD, whose own length is 2; the blob's name, or the failure.
    [Theory]
    [InlineData("ETag=\"{git}\"", "{git}")]
    [InlineData("ETag={git}", "{git}")]
    [InlineData("ETag=W/\"{git}\"", "{git}")]
    [InlineData("ETag=\"elsewhere\";X-Linked-Etag=\"{git}\"", "{git}")]
    [InlineData("ETag=a.b_c-D9", "a.b_c-D9")]
    [InlineData("ETag={128}", "{128}")]
    [InlineData("ETag={128}0", HubFailure.Refused)]
    [InlineData("ETag=.hidden", HubFailure.Refused)]
    [InlineData("ETag=a+b", HubFailure.Refused)]
    [InlineData("", HubFailure.Refused)]
    [InlineData("ETag={git};X-Linked-Size=2", "{git}")]
    [InlineData("ETag={git};X-Linked-Size=3", HubFailure.Damaged)]
    [InlineData("ETag={git};X-Linked-Size=-1", HubFailure.Damaged)]
    [InlineData("ETag={git};X-Linked-Size=long", "{git}")]
    [InlineData("ETag={git};X-Repo-Commit={commit}", "{git}")]
    [InlineData("ETag={git};X-Repo-Commit=dddd", HubFailure.Damaged)]
    public async Task Describe_Headers_NameTheBlobOrAreRefused(string headers, object expected)
    {
        using var hub = Model();
        var filled = Fill(headers).Split(';', StringSplitOptions.RemoveEmptyEntries);
        var answer = filled.Aggregate(new Reply(200, Content), static (reply, header) => reply.With(header.Split('=')[0], header.Split('=', 2)[1]));
        hub.OnHub = request => request.Method == "HEAD" ? answer : null;

        if (expected is HubFailure failure)
        {
            Assert.Equal(failure, (await hub.FailAsync()).Failure);
            return;
        }

        await hub.DownloadAsync();
        Assert.Equal([Fill((string)expected)], Directory.GetFiles(Path.Combine(hub.RepositoryFolder, "blobs")).Select(Path.GetFileName));

        static string Fill(string text) => text.Replace("{git}", GitBlob).Replace("{commit}", FakeHub.Commit).Replace("{128}", new string('e', 128));
    }

    [Theory]
    [InlineData(2, true)]
    [InlineData(null, false)]
    public async Task Describe_RedirectWithoutALength_HasTheListsLength(int? listed, bool isKnown)
    {
        using var hub = Model();
        hub.OnHub = request => IsList(request) ? List(new JsonObject { ["rfilename"] = Name, ["size"] = listed }.ToJsonString())
            : request.Method == "HEAD" ? new Reply(302) { Announced = 77 }.With("Location", "https://storage.example/").With("ETag", GitBlob) : null;

        if (isKnown)
        {
            await hub.DownloadAsync();
            return;
        }

        var error = await hub.FailAsync();
        Assert.Equal(HubFailure.Damaged, error.Failure);
        Assert.Contains("does not say how long 'config.json' is", error.Message);
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(1, false)]
    public async Task List_LongerThan64Megabytes_IsNotRead(int more, bool breaksOff)
    {
        using var hub = Model();
        hub.OnHub = _ => Reply.Json("{}") with { Announced = (64 << 20) + more };

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Unreachable, error.Failure);
        Assert.StartsWith($"The list of files of {FakeHub.Name} did not arrive whole: ", error.Message);
        Assert.Equal(!breaksOff, error.Message.Contains($"{64 << 20}"));
        Assert.Equal(6, hub.HubRequests.Count);
    }

    [Fact]
    public async Task List_ThatBreaksOff_IsAskedForAgain()
    {
        using var hub = Model();
        hub.OnHub = request => hub.HubRequests.Count == 1 ? hub.Usual(request) with { BreakAfter = 20 } : null;

        await hub.DownloadAsync();

        Assert.Equal([1.0], hub.Waits.Select(static wait => wait.TotalSeconds));
    }

    // The status, X-Error-Code and X-Error-Message of the list, or of a file; the words that the message must have. {page} is the model's page.
    [Theory]
    [InlineData(
        false, 403, "GatedRepo", null, HubFailure.Denied,
        "The model painters/tiny is gated, and {account}. Open {page} in a browser, accept its terms, make a token that may read at {hub}/settings/tokens, " +
        "and set it as HF_TOKEN.")]
    [InlineData(
        false, 404, "RevisionNotFound", null, HubFailure.NotFound,
        "The model painters/tiny has no revision 'main'; expected a branch, a tag or a commit. See {page}/tree/main.")]
    [InlineData(true, 404, "EntryNotFound", null, HubFailure.NotFound, "The model painters/tiny has no file 'config.json'. See {page}/tree/main.")]
    [InlineData(
        false, 401, null, null, HubFailure.Denied,
        "The model painters/tiny cannot be read: it does not exist, or it is private or gated and {account}. Check the name; for a private or gated model " +
        "open {page} in a browser, accept its terms if it has any, and set a token that may read it as HF_TOKEN.")]
    [InlineData(true, 403, null, "Not today", HubFailure.Denied, "The model painters/tiny cannot be read (it says: Not today): it does not exist")]
    [InlineData(
        false, 404, null, null, HubFailure.NotFound,
        "There is no model painters/tiny on 127.0.0.1. Check the name and the revision; a private model needs a token in HF_TOKEN ({account}).")]
    [InlineData(true, 404, null, null, HubFailure.NotFound, "The model painters/tiny has no file 'config.json' on 127.0.0.1. See {page}/tree/main.")]
    [InlineData(
        false, 418, null, "Tea\u0001 only", HubFailure.Unreachable,
        "127.0.0.1 answers 418 (Answer) for painters/tiny (it says: Tea only). Check HF_ENDPOINT, and try again later.")]
    public async Task Refusal_EachKind_SaysWhatIsWrongAndWhatToDo(bool ofFile, int status, string? code, string? said, HubFailure failure, string message)
    {
        using var hub = Model();
        hub.OnHub = request => IsList(request) == ofFile ? null : new[] { ("X-Error-Code", code), ("X-Error-Message", said) }
            .Where(static header => header.Item2 is not null).Aggregate(new Reply(status), static (reply, header) => reply.With(header.Item1, header.Item2!));

        foreach (var (token, account) in new[] { (hub.Settings.Token, "the access token in use may not read it"), (null, "no access token is set") })
        {
            using var client = hub.Client(hub.Settings with { Token = token });
            var error = await Assert.ThrowsAsync<HubException>(() => client.DownloadAsync(FakeHub.Id));

            Assert.Equal(failure, error.Failure);
            var server = hub.Settings.Endpoint.AbsoluteUri.TrimEnd('/');
            Assert.StartsWith(message.Replace("{page}", $"{server}/{FakeHub.Name}").Replace("{hub}", server).Replace("{account}", account), error.Message);
        }
    }

    private static FakeHub Model() => new((Name, Content));

    private static bool IsList(Request request) => request.Path.StartsWith("/api/", StringComparison.Ordinal);

    private static Reply List(string entries) => Reply.Json($$"""{"sha": "{{FakeHub.Commit}}", "siblings": [{{entries}}]}""");
}
