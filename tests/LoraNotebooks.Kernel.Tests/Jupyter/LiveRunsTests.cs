using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Jupyter;

namespace LoraNotebooks.Kernel.Tests.Jupyter;

/// <summary>What a page learns that asks how a run stands.</summary>
public sealed class LiveRunsTests
{
    private readonly LiveRuns _runs = new();

    [Fact]
    public void Answer_RunThatGoesOn_IsRunningWithWhatThePageLacks()
    {
        var offer = _runs.Add(static () => { });
        Show("figures", offer.Id, "<b>1</b>");
        Show("figures", offer.Id, "<b>2</b>");
        Show("chart", offer.Id, "<i>1</i>");

        var answer = Ask(offer.Id, ("figures", 1));
        Assert.Equal("running", State(answer));
        Assert.Equal(["<b>2</b>", "<i>1</i>"], Missed(answer));
        Assert.Equal([], Missed(Ask(offer.Id, ("figures", 2), ("chart", 1))));
    }

    [Fact]
    public void Answer_RunThatEnded_GivesTheLastForms()
    {
        var offer = _runs.Add(static () => { });
        Show("figures", offer.Id, "<b>1</b>");
        Show("samples", offer.Id, "<i>1</i>");
        Show("figures", null, "<b>done</b>");
        offer.Dispose();
        Assert.Equal("running", State(Ask(offer.Id)));
        Show("samples", null, "<i>done</i>");
        var answer = Ask(offer.Id, ("figures", 1), ("samples", 1));
        Assert.Equal("ended", State(answer));
        Assert.Equal(["<b>done</b>", "<i>done</i>"], Missed(answer));
    }

    [Fact]
    public void Answer_OfAnotherProcessOrWithoutMeaning_IsUnknown()
    {
        Assert.Equal("unknown", State(Ask("offer-of-another-kernel")));
        Assert.Equal("unknown", State(_runs.Answer([])));
        Assert.Equal("unknown", State(_runs.Answer(new() { ["id"] = 7, ["stop"] = "yes", ["have"] = "x" })));
    }

    [Fact]
    public void Answer_Stop_StopsWhatCanBeStopped()
    {
        using var stopped = new ManualResetEventSlim();
        var offer = _runs.Add(stopped.Set);
        Ask(offer.Id);
        Assert.False(stopped.Wait(50));
        Assert.Equal("running", State(_runs.Answer(new() { ["id"] = offer.Id, ["stop"] = true })));
        Assert.True(stopped.Wait(TimeSpan.FromSeconds(30)));
        stopped.Reset();
        offer.Dispose();
        Assert.Equal("ended", State(_runs.Answer(new() { ["id"] = offer.Id, ["stop"] = true })));
        Assert.False(stopped.Wait(50));
    }

    [Fact]
    public void Follow_ManyEndedRuns_ForgetsTheOldest()
    {
        var first = _runs.Add(static () => { });
        first.Dispose();
        Assert.Equal("ended", State(Ask(first.Id)));
        for (var i = 0; i < 8; i++)
        {
            _runs.Add(static () => { }).Dispose();
        }

        Assert.Equal("unknown", State(Ask(first.Id)));
    }

    private void Show(string display, string? run, string html) => _runs.Follow(display, run)!.Show(html, isRunning: run is not null);

    private JsonObject Ask(string id, params (string Display, int Version)[] have) => _runs.Answer(new()
    {
        ["id"] = id,
        ["have"] = new JsonObject(have.Select(one => KeyValuePair.Create(PageScripts.Token(one.Display), (JsonNode?)one.Version))),
    });

    private static string? State(JsonObject answer) => (string?)answer["state"];

    private static IEnumerable<string?> Missed(JsonObject answer) => answer["outputs"]!.AsArray().Select(output => (string?)output!["html"]);
}
