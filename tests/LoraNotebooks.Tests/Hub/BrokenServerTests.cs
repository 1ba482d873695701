using LoraNotebooks.Hub;
using Microsoft.Extensions.Time.Testing;

namespace LoraNotebooks.Tests.Hub;

/// <summary>Connections that break and servers that lie: the file is right in the end, or there is none.</summary>
public sealed class BrokenServerTests
{
    private const string Weights = "model.safetensors";
    private const int Length = 300_000;

    private static FakeHub Model() => new((Weights, FakeHub.Bytes(Length)));

    [Fact]
    public async Task Download_ConnectionsThatBreak_GoesOnWhereEachEnded()
    {
        using var hub = Model();
        hub.OnStorage = request => FakeHub.Serve(request, hub.Files[Weights]) with { BreakAfter = 100_000 };

        await AssertArrivesAsync(hub);

        Assert.Equal([null, 100_000, 200_000], hub.StorageRequests.Select(request => request.From));
        Assert.Equal([1.0, 2.0], hub.Waits.Select(wait => wait.TotalSeconds));
    }

    [Fact]
    public async Task Download_ServerThatIgnoresRanges_BeginsAnew()
    {
        using var hub = Model();
        var answers = 0;
        hub.OnStorage = _ => new Reply(200, hub.Files[Weights]) { BreakAfter = ++answers == 1 ? 100_000 : null };

        await AssertArrivesAsync(hub);

        Assert.Equal([null, 100_000], hub.StorageRequests.Select(request => request.From));
    }

    [Theory]
    [InlineData(206, "bytes 7-299999/300000")]
    [InlineData(206, "bytes 100000-299999/999999")]
    [InlineData(416, "bytes */300000")]
    public async Task Download_AnotherRangeThanAskedFor_BeginsAnew(int status, string range)
    {
        using var hub = Model();
        hub.OnStorage = request => request.From is null
            ? hub.StorageRequests.Count == 1 ? new Reply(200, hub.Files[Weights]) { BreakAfter = 100_000 } : null
            : new Reply(status, FakeHub.Bytes(Length - 100_000, seed: 9)) { Headers = { ["Content-Range"] = range } };

        await AssertArrivesAsync(hub);

        Assert.Equal([null, 100_000, null], hub.StorageRequests.Select(request => request.From));
    }

    [Theory]
    [InlineData(Length - 1)]
    [InlineData(Length + 1)]
    [InlineData(0)]
    public async Task Download_WrongLengthAnnounced_IsNotTheFile(int announced)
    {
        using var hub = Model();
        hub.OnStorage = _ => new Reply(200, hub.Files[Weights]) { Announced = announced };

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Damaged, error.Failure);
        Assert.Contains($"announced with {announced} bytes", error.Message);
        Assert.Contains($"expected {Length} bytes", error.Message);
        AssertNothingInTheCache(hub);
    }

    [Fact]
    public async Task Download_MoreBytesThanTheFileHas_IsNotTheFile()
    {
        using var hub = Model();
        hub.OnStorage = _ => new Reply(200, [.. hub.Files[Weights], 1]) { Announced = -1 };

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Damaged, error.Failure);
        Assert.Contains($"goes on after its {Length} bytes", error.Message);
        Assert.Equal(0, new FileInfo(hub.Blob(Weights) + ".incomplete").Length);
        AssertNothingInTheCache(hub);
    }

    [Fact]
    public async Task Download_FewerBytesWithoutAnyLength_FetchesTheRest()
    {
        using var hub = Model();
        hub.OnStorage = request => request.From is null ? new Reply(200, hub.Files[Weights][..1000]) { Announced = -1 } : null;

        await AssertArrivesAsync(hub);

        Assert.Equal(1000, hub.StorageRequests[^1].From);
    }

    [Fact]
    public async Task Download_LengthThatTheHubLiesAbout_IsNotTheFile()
    {
        using var hub = Model();
        hub.OnHub = request => request.Method == "HEAD" ? Linked(hub, hub.Etag(Weights), Length - 10) : null;

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Damaged, error.Failure);
        AssertNothingInTheCache(hub);
    }

    [Fact]
    public async Task Download_OtherContentOfTheRightLength_IsTriedTwiceAndRefused()
    {
        using var hub = Model();
        var other = FakeHub.Bytes(Length, seed: 2);
        hub.OnStorage = request => FakeHub.Serve(request, other);

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Damaged, error.Failure);
        Assert.Contains(FakeHub.Sha256(other), error.Message);
        Assert.Contains(hub.Etag(Weights), error.Message);
        Assert.Equal([null, null], hub.StorageRequests.Select(request => request.From));
        AssertNothingInTheCache(hub);
    }

    [Fact]
    public async Task Download_OtherContentOfASmallFile_IsRefusedByGitsHash()
    {
        using var hub = new FakeHub(("config.json", "{\"a\": 1}"u8.ToArray()));
        hub.OnHub = request => request.Method == "GET" && request.Path.Contains("/resolve/") ? new Reply(200, "{\"a\": 2}"u8.ToArray()) : null;

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Damaged, error.Failure);
        Assert.Contains(hub.Etag("config.json"), error.Message);
    }

    [Fact]
    public async Task Download_DamagedBytesFromBefore_AreFetchedAnew()
    {
        using var hub = Model();
        Directory.CreateDirectory(Path.GetDirectoryName(hub.Blob(Weights))!);
        await File.WriteAllBytesAsync(hub.Blob(Weights) + ".incomplete", FakeHub.Bytes(1000, seed: 5));

        await AssertArrivesAsync(hub);

        Assert.Equal([1000, null], hub.StorageRequests.Select(request => request.From));
    }

    [Fact]
    public async Task Download_MirrorWithTagsOfItsOwn_IsCheckedByTheListOfFiles()
    {
        using var hub = Model();
        hub.OnHub = request => request.Method == "HEAD" ? Linked(hub, "tag-of-a-mirror", Length) : null;
        hub.OnStorage = request => FakeHub.Serve(request, FakeHub.Bytes(Length, seed: 2));

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Damaged, error.Failure);
        Assert.Contains(hub.Etag(Weights), error.Message);
    }

    [Theory]
    [InlineData(429)]
    [InlineData(503)]
    public async Task Download_BusyServer_WaitsAsLongAsItAsks(int status)
    {
        using var hub = Model();
        hub.OnHub = request => hub.HubRequests.Count(earlier => earlier == request || (earlier.Path == request.Path && earlier.Method == request.Method)) == 1
            ? new Reply(status) { Headers = { ["Retry-After"] = "7" } }
            : null;
        hub.OnStorage = _ => hub.StorageRequests.Count == 1 ? new Reply(status) { Headers = { ["Retry-After"] = "11" } } : null;

        await AssertArrivesAsync(hub);

        // The list, the question about the file, the file on the hub, the file in its storage.
        Assert.Equal([7.0, 7.0, 7.0, 11.0], hub.Waits.Select(wait => wait.TotalSeconds));
    }

    [Fact]
    public async Task Download_ServerThatStaysBusy_BacksOffAndGivesUp()
    {
        using var hub = Model();
        hub.OnHub = _ => new Reply(503);

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Unreachable, error.Failure);
        Assert.Contains("503", error.Message);
        Assert.Equal([1.0, 2.0, 4.0, 8.0, 16.0], hub.Waits.Select(wait => wait.TotalSeconds));
    }

    [Fact]
    public async Task Download_ServerThatAsksToWaitAnHour_SaysSo()
    {
        using var hub = Model();
        hub.OnHub = _ => new Reply(429) { Headers = { ["Retry-After"] = "3600" } };

        var error = await hub.FailAsync();

        Assert.Contains("60 minutes", error.Message);
        Assert.Empty(hub.Waits);
    }

    [Fact]
    public async Task Download_NobodyListening_SaysWhatCannotBeReached()
    {
        using var hub = Model();
        using var gone = new LocalServer(_ => new Reply(200));
        var address = gone.Address;
        gone.Dispose();
        using var client = hub.Client(hub.Settings with { Endpoint = address });

        var error = await Assert.ThrowsAsync<HubException>(() => client.DownloadAsync(FakeHub.Id));

        Assert.Equal(HubFailure.Unreachable, error.Failure);
        Assert.Contains("HF_HUB_OFFLINE", error.Message);
    }

    [Theory]
    [InlineData("<html>Log in to the network</html>")]
    [InlineData("[]")]
    [InlineData("{\"sha\": \"../../../etc\", \"siblings\": []}")]
    [InlineData("{\"sha\": \"cccccccccccccccccccccccccccccccccccccccc\"}")]
    public async Task Download_ListThatIsNone_SaysSo(string text)
    {
        using var hub = Model();
        hub.OnHub = _ => Reply.Json(text);

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.Damaged, error.Failure);
        Assert.Contains("HF_ENDPOINT", error.Message);
    }

    [Fact]
    public async Task Download_BytesOfAttemptsThatFail_AreKeptAndCounted()
    {
        using var hub = Model();
        hub.OnStorage = request => FakeHub.Serve(request, hub.Files[Weights]) with { BreakAfter = 10 };

        var error = await hub.FailAsync();

        Assert.Equal(
            $"The connection for '{Weights}' ended after 60 of {Length} bytes. 6 attempts failed. Check the network and try again: what was fetched is " +
            "kept. With HF_HUB_OFFLINE=1 only the cache is used.",
            error.Message);
        Assert.Equal(HubFailure.Unreachable, error.Failure);
        Assert.Equal(hub.Files[Weights][..60], await File.ReadAllBytesAsync(hub.Blob(Weights) + ".incomplete"));
        AssertNothingInTheCache(hub);

        hub.OnStorage = null;
        await AssertArrivesAsync(hub);
        Assert.Equal(60, hub.StorageRequests[^1].From);
    }

    // A mebibyte in one attempt is worth a new set of attempts; a byte less is not.
    [Theory]
    [InlineData(1 << 20, true)]
    [InlineData((1 << 20) - 1, false)]
    public async Task Download_AttemptsThatGainMuch_AreNotCounted(int gain, bool arrives)
    {
        using var hub = new FakeHub((Weights, FakeHub.Bytes(8 << 20)));
        hub.OnStorage = request => FakeHub.Serve(request, hub.Files[Weights]) with { BreakAfter = gain };

        if (arrives)
        {
            await AssertArrivesAsync(hub);
            Assert.Equal(Enumerable.Repeat(1.0, 7), hub.Waits.Select(wait => wait.TotalSeconds));
            return;
        }

        Assert.Contains($"ended after {6 * gain} of {8 << 20} bytes. 6 attempts failed", (await hub.FailAsync()).Message);
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(1, false)]
    [InlineData(Length - 1, false)]
    [InlineData(Length, false)]
    [InlineData(Length + 1, true)]
    public async Task Download_BytesFromBefore_AreGoneOnWithUnlessTheyAreTooMany(int before, bool anew)
    {
        using var hub = Model();
        Directory.CreateDirectory(Path.GetDirectoryName(hub.Blob(Weights))!);
        await File.WriteAllBytesAsync(hub.Blob(Weights) + ".incomplete", [.. hub.Files[Weights].Take(before), .. new byte[Math.Max(0, before - Length)]]);

        await AssertArrivesAsync(hub);

        Assert.Equal(before == Length ? [] : [before == 0 || anew ? null : before], hub.StorageRequests.Select(request => request.From));
        Assert.Empty(hub.Waits);
        Assert.False(File.Exists(hub.Blob(Weights) + ".incomplete"));
    }

    [Fact]
    public async Task Download_WholeButDamagedBytesFromBefore_AreFetchedAnew()
    {
        using var hub = Model();
        Directory.CreateDirectory(Path.GetDirectoryName(hub.Blob(Weights))!);
        await File.WriteAllBytesAsync(hub.Blob(Weights) + ".incomplete", FakeHub.Bytes(Length, seed: 5));

        await AssertArrivesAsync(hub);

        Assert.Equal([null], hub.StorageRequests.Select(request => request.From));
        Assert.Equal([1.0], hub.Waits.Select(wait => wait.TotalSeconds));
    }

    [Theory]
    [InlineData("bytes 100000-299999/*", true)]
    [InlineData("bytes 100000-299999/300000", true)]
    [InlineData("bytes 100000-299999/999999", false)]
    [InlineData("bytes */300000", false)]
    [InlineData(null, false)]
    public async Task Download_RangeOfTheRest_IsTakenWhereItBeginsRight(string? range, bool isTaken)
    {
        using var hub = Model();
        hub.OnStorage = request => request.From is { } from && hub.StorageRequests.Count == 2
            ? range is null ? new Reply(206, hub.Files[Weights][from..]) : new Reply(206, hub.Files[Weights][from..]).With("Content-Range", range)
            : FakeHub.Serve(request, hub.Files[Weights]) with { BreakAfter = request.From is null && hub.StorageRequests.Count == 1 ? 100_000 : null };

        await AssertArrivesAsync(hub);

        Assert.Equal(isTaken ? [null, 100_000] : [null, 100_000, null], hub.StorageRequests.Select(request => request.From));
    }

    [Theory]
    [InlineData(206, "bytes 7-299999/300000", "is not served from byte 0 of 300000 on, as was asked (it has bytes 7-299999/300000)")]
    [InlineData(416, null, "is not served from byte 0 of 300000 on, as was asked (it has no range)")]
    [InlineData(204, null, "is answered with 204")]
    public async Task Download_AnswerThatIsNotTheFile_SaysWhatItIs(int status, string? range, string message)
    {
        using var hub = Model();
        hub.OnStorage = _ => range is null ? new Reply(status) : new Reply(status, hub.Files[Weights]).With("Content-Range", range);

        var error = await hub.FailAsync();

        Assert.StartsWith($"'{Weights}' {message}. 6 attempts failed. A proxy", error.Message);
        Assert.Equal(HubFailure.Damaged, error.Failure);
    }

    [Fact]
    public async Task Download_CompressedAnswer_IsNotTheFile()
    {
        using var hub = Model();
        hub.OnStorage = request => FakeHub.Serve(request, hub.Files[Weights]).With("Content-Encoding", "gzip");

        var error = await hub.FailAsync();

        Assert.StartsWith($"'{Weights}' is announced with {Length} bytes gzip; expected {Length} bytes as they are.", error.Message);
        AssertNothingInTheCache(hub);
    }

    [Fact]
    public async Task Download_SilenceWithinAFile_EndsAfterHalfAMinuteAndKeepsWhatCame()
    {
        using var hub = Model();
        var time = new FakeTimeProvider();
        var silence = new TaskCompletionSource();
        hub.OnStorage = request => FakeHub.Serve(request, hub.Files[Weights]) with { SilentAfter = request.From is null ? 1000 : null, Silence = silence.Task };
        using var client = hub.Client(time: time);

        var download = client.DownloadAsync(FakeHub.Id);
        var incomplete = new FileInfo(hub.Blob(Weights) + ".incomplete");
        while (hub.Waits.Count == 0)
        {
            await Task.Delay(5);
            incomplete.Refresh();
            time.Advance(TimeSpan.FromSeconds(incomplete is { Exists: true, Length: 1000 } ? 10 : 0));
        }

        await download;
        silence.SetResult();

        Assert.Equal([null, 1000], hub.StorageRequests.Select(request => request.From));
        Assert.Equal([1.0], hub.Waits.Select(wait => wait.TotalSeconds));
    }

    private static Reply Linked(FakeHub hub, string etag, int size) => new(302)
    {
        Headers =
        {
            ["Location"] = $"{hub.StorageAddress}{Weights}",
            ["X-Repo-Commit"] = FakeHub.Commit,
            ["X-Linked-Etag"] = etag,
            ["X-Linked-Size"] = $"{size}",
        },
    };

    private static async Task AssertArrivesAsync(FakeHub hub)
    {
        var snapshot = await hub.DownloadAsync();
        Assert.Equal(hub.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(snapshot, Weights)));
    }

    private static void AssertNothingInTheCache(FakeHub hub)
    {
        Assert.False(Directory.Exists(hub.SnapshotFolder));
        Assert.False(File.Exists(hub.Blob(Weights)));
    }
}
