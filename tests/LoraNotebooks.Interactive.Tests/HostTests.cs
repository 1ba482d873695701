using System.Reflection;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Interactive.Tests;

[Collection(nameof(ProcessHost))]
public class HostTests
{
    [Fact]
    public async Task UseForProcess_WhereNoHostWasSet_CountsOnEveryThread()
    {
        var (ofProcess, ofSession) = (new RecordingHost(), new RecordingHost());
        try
        {
            NotebookHost.UseForProcess(ofProcess);
            await Task.Run(() => "a".Display());
            using (NotebookHost.Use(ofSession))
            {
                "b".Display();
            }
        }
        finally
        {
            NotebookHost.UseNoneForProcess();
        }

        Assert.Equal("a", Assert.Single(Assert.Single(ofProcess.Displays)).Text(MimeTypes.PlainText));
        Assert.Equal("b", Assert.Single(Assert.Single(ofSession.Displays)).Text(MimeTypes.PlainText));
    }

    [Fact]
    public void ScriptHost_Display_CallsItsFunctions()
    {
        var shown = new List<string?>();
        using var stop = new CancellationTokenSource();
        var host = new ScriptHost(
            bundle =>
            {
                shown.Add(bundle.Text(MimeTypes.PlainText));
                return changed => shown.Add("> " + changed.Text(MimeTypes.PlainText));
            },
            stop.Token);
        host.Display(MimeBundle.FromText("a")).Update(MimeBundle.FromText("b"));
        Assert.Equal(["a", "> b"], shown);
        Assert.Equal(stop.Token, ((INotebookHost)host).Cancellation);
    }

    [Fact]
    public async Task Current_TwoSessionsAtOnce_EachSeesItsOwnHost()
    {
        async Task<RecordingHost> Session(string text)
        {
            var host = new RecordingHost();
            using (NotebookHost.Use(host))
            {
                await Task.Yield();
                await Task.Run(() => text.Display());
            }

            return host;
        }

        var hosts = await Task.WhenAll(Session("a"), Session("b"));
        Assert.Equal(["a", "b"], hosts.Select(host => Assert.Single(Assert.Single(host.Displays)).Text(MimeTypes.PlainText)));
        Assert.IsType<ConsoleHost>(NotebookHost.Current);
    }

    [Fact]
    public void Use_NestedAndDisposedTwice_RestoresTheOuterHost()
    {
        var outer = new RecordingHost();
        using (NotebookHost.Use(outer))
        {
            var inner = NotebookHost.Use(new RecordingHost());
            inner.Dispose();
            inner.Dispose();
            Assert.Same(outer, NotebookHost.Current);
        }
    }

    [Fact]
    public void Bundle_ChangedCopies_LeaveTheOriginal()
    {
        var node = new JsonObject { ["a"] = 1 };
        var first = MimeBundle.FromText("x").With(MimeTypes.Json, node).With(MimeTypes.Png, new byte[] { 1, 2, 3 });
        node["a"] = 2;
        first.ToJson()["extra"] = 1;
        first.Node(MimeTypes.Json)!["a"] = 3;
        Assert.Equal("""{"application/json":{"a":1},"image/png":"AQID","text/plain":"x"}""", first.ToJson().ToJsonString());
    }

    [Fact]
    public void Format_ValueOfARegisteredBaseOrInterface_UsesTheRegistration()
    {
        DisplayFormatter.Register<IMarked>(value => MimeBundle.FromText("marked"));
        Assert.Equal("marked", DisplayFormatter.Format(new Marked()).Text(MimeTypes.PlainText));
        Assert.Equal("null", DisplayFormatter.Format(null).Text(MimeTypes.PlainText));
        Assert.Equal("7", DisplayFormatter.Format(7).Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Convention_DotNetInteractivesOwnFormatter_FindsHtmlTextAndPlotly()
    {
        var chart = new LossChart([1.0, 0.5, 0.25]);
        Assert.Equal(chart.ToHtml(), Write(chart, MimeTypes.Html));
        Assert.Equal(chart.ToText(), Write(chart, MimeTypes.PlainText));
        Assert.NotNull(JsonNode.Parse(Write(chart, MimeTypes.Plotly))!["data"]);
        Assert.Contains(MimeTypes.Html, Microsoft.DotNet.Interactive.Formatting.Formatter.GetPreferredMimeTypesFor(typeof(LossChart)));

        static string Write(object value, string type)
        {
            var writer = new StringWriter();
            Microsoft.DotNet.Interactive.Formatting.Formatter.FormatTo(value, new Microsoft.DotNet.Interactive.Formatting.FormatContext(writer), type);
            return writer.ToString();
        }
    }

    [Fact]
    public void Verso_ReflectionOnToHtml_GetsAString()
    {
        // Verso's formatter calls a public ToHtml() without parameters and casts what it returns to string.
        var method = typeof(LossChart).GetMethod("ToHtml", BindingFlags.Public | BindingFlags.Instance, null, Type.EmptyTypes, null);
        Assert.Contains("<img ", (string)method!.Invoke(new LossChart([1.0, 0.5]), null)!);
    }

    private interface IMarked;

    private sealed class Marked : IMarked;
}
