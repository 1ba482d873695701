using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Jupyter;

namespace LoraNotebooks.Kernel.Tests.Jupyter;

/// <summary>Each message of the protocol in the middle of a long cell, and what goes wrong outside of a cell's own call.</summary>
public sealed class KernelWhileBusyTests : IClassFixture<KernelConformanceTests.SharedKernel>
{
    private const string LongCell = "Console.Write(\"begun\"); while (true) { Cancellation.ThrowIfCancellationRequested(); Thread.Sleep(5); }";

    private readonly KernelClient _kernel;

    public KernelWhileBusyTests(KernelConformanceTests.SharedKernel shared) => _kernel = shared.Client;

    [Theory]
    [InlineData("kernel_info_request", "{}", "language_info")]
    [InlineData("complete_request", """{ "code": "Math.Ma", "cursor_pos": 7 }""", "Max")]
    [InlineData("inspect_request", """{ "code": "Math.Max(1, 2)", "cursor_pos": 6, "detail_level": 0 }""", "Max")]
    [InlineData("is_complete_request", """{ "code": "1 +" }""", "incomplete")]
    [InlineData("history_request", """{ "hist_access_type": "tail", "n": 3 }""", "history")]
    [InlineData("comm_info_request", "{}", "comms")]
    [InlineData("kernel_info_request", "{}", "language_info", true)]
    public void Request_WhileACellRuns_IsAnsweredAndTheKernelStaysBusy(string type, string content, string expected, bool onControl = false) =>
        WhileBusy(cell =>
    {
        var answer = _kernel.Ask(type, (JsonObject)JsonNode.Parse(content)!, onControl ? Channel.Control : Channel.Shell);
        Assert.Equal(type.Replace("_request", "_reply", StringComparison.Ordinal), answer.Reply.Type);
        Assert.Contains(expected, answer.Reply.Content.ToJsonString(), StringComparison.Ordinal);
        Assert.Equal(["busy", "idle"], answer.Told.Where(message => message.Type == "status").Select(message => message.Text("execution_state")));

        // A front end shows the last state that it heard.
        _kernel.Hear(message => message.Type == "status" && IsOf(message, cell) && message.Text("execution_state") == "busy");
    });

    [Theory]
    [InlineData("comm_open", """{ "comm_id": "c1", "target_name": "no.such.target", "data": {} }""", "comm_close")]
    [InlineData("comm_open", """{ "comm_id": "c2", "target_name": "lora-notebooks.run", "data": { "id": "gone" } }""", "comm_msg")]
    [InlineData("comm_msg", """{ "comm_id": "c3", "data": {} }""", "status")]
    [InlineData("comm_close", """{ "comm_id": "c4", "data": {} }""", "status")]
    public void Comm_WhileACellRuns_IsAnswered(string type, string content, string told) => WhileBusy(_ =>
    {
        var id = _kernel.Send(type, (JsonObject)JsonNode.Parse(content)!);
        _kernel.Hear(message => message.Type == told && IsOf(message, id));
        _kernel.Hear(message => message.Text("execution_state") == "idle" && IsOf(message, id));
    });

    [Fact]
    public void Stop_WhileACellRuns_SaysWhetherThereWasSomethingToStop()
    {
        var cell = _kernel.Send("execute_request", new JsonObject
        {
            ["code"] = """
                var pressed = new TaskCompletionSource();
                var offer = NotebookHost.Current.OfferStop(() => pressed.TrySetResult());
                Console.Write(offer.Id);
                await pressed.Task;
                offer.Dispose();
                """,
        });
        var offer = _kernel.Hear(message => message.Type == "stream" && IsOf(message, cell)).Text("text");
        Assert.Equal("running", Ask(stop: false));
        Assert.Equal("running", Ask(stop: false));
        Assert.Equal("running", Ask(stop: true));
        Assert.Equal("ok", _kernel.Await(cell).Status);
        Assert.Equal("ended", Ask(stop: false));
        Assert.Equal("ended", Ask(stop: true));

        string? Ask(bool stop)
        {
            var data = new JsonObject { ["id"] = offer, ["stop"] = stop };
            var id = _kernel.Send("comm_open", new JsonObject { ["comm_id"] = "c", ["target_name"] = "lora-notebooks.run", ["data"] = data });
            var answer = _kernel.Hear(message => message.Type == "comm_msg" && IsOf(message, id));
            return (string?)answer.Content["data"]!["state"];
        }
    }

    [Fact]
    public void Execute_WhileACellRuns_WaitsAndIsAbortedWithoutANumber()
    {
        string? waiting = null;
        WhileBusy(_ => waiting = _kernel.Send("execute_request", new JsonObject { ["code"] = "1" }));
        var reply = _kernel.Await(waiting!).Reply;
        Assert.Equal("aborted", reply.Text("status"));
        Assert.False(reply.Content.ContainsKey("execution_count"));
    }

    [Theory]
    [InlineData("input_reply", """{ "value": "nobody asked" }""")]
    [InlineData("no_such_request", "{}")]
    [InlineData("comm_open", """{ "comm_id": 5, "target_name": [], "data": "text" }""")]
    [InlineData("complete_request", """{ "code": 7, "cursor_pos": "x" }""")]
    [InlineData("history_request", """{ "hist_access_type": 1, "n": -5 }""")]
    public void Message_ThatMakesNoSense_LeavesTheKernelAlive(string type, string content) => WhileBusy(_ =>
    {
        _kernel.Send(type, (JsonObject)JsonNode.Parse(content)!);
        Assert.Equal("ok", _kernel.Ask("kernel_info_request").Status);
    });

    [Fact]
    public void Execute_ThreadThatThrows_IsAnErrorOfItsCellAndTheSessionLivesOn()
    {
        var first = _kernel.Execute(
            "var kept = 5; var go = new ManualResetEventSlim(); new Thread(() => { go.Wait(); throw new InvalidOperationException(\"late\"); }).Start();");
        var request = (string)first.Reply.ParentHeader["msg_id"]!;
        Assert.Equal("ok", first.Status);
        Assert.Equal("ok", _kernel.Execute("go.Set(); Thread.Sleep(300);").Status);
        var error = _kernel.Hear(message => message.Type == "error" && IsOf(message, request));
        Assert.Equal("late", error.Text("evalue"));
        Assert.Equal("5", _kernel.Execute("kept").Result);
    }

    [Fact]
    public void Execute_OutputOfWhatACellLeftBehind_ArrivesWhenNoCellRuns()
    {
        var own = _kernel.Execute("new Thread(() => { Thread.Sleep(500); Console.Write(\"own\"); }).Start();");
        _kernel.Hear(message => message.Text("text") == "own" && IsOf(message, (string)own.Reply.ParentHeader["msg_id"]!));
        var last = _kernel.Execute("using (ExecutionContext.SuppressFlow()) new Thread(() => { Thread.Sleep(500); Console.Write(\"last\"); }).Start();");
        _kernel.Hear(message => message.Text("text") == "last" && IsOf(message, (string)last.Reply.ParentHeader["msg_id"]!));
    }

    [Fact]
    public void Execute_FaultOfTheKernelItself_IsAnErrorAndAbortsTheCellsThatWereWaiting()
    {
        // The cell breaks its own host, so that what follows the cell throws.
        const string code = """
            Thread.Sleep(500);
            var host = NotebookHost.Current;
            host.GetType().GetField("_streams", System.Reflection.BindingFlags.NonPublic | System.Reflection.BindingFlags.Instance).SetValue(host, null);
            1
            """;
        var ids = new[] { code, "2" }.Select(cell => _kernel.Send("execute_request", new JsonObject { ["code"] = cell })).ToArray();
        var broken = _kernel.Await(ids[0]);
        Assert.Equal("error", broken.Status);
        Assert.Contains("The kernel itself failed", Assert.Single(broken.Outputs, output => output.Type == "error").Text("evalue"), StringComparison.Ordinal);
        Assert.Equal("aborted", _kernel.Await(ids[1]).Status);
        Assert.Equal("3", _kernel.Execute("3").Result);
    }

    private void WhileBusy(Action<string> act)
    {
        var cell = _kernel.Send("execute_request", new JsonObject { ["code"] = LongCell });
        _kernel.Hear(message => message.Type == "stream" && IsOf(message, cell));
        act(cell);
        Assert.Equal("ok", _kernel.Ask("interrupt_request", channel: Channel.Control).Status);
        Assert.Equal("error", _kernel.Await(cell).Status);
    }

    private static bool IsOf(JupyterMessage message, string request) => (string?)message.ParentHeader["msg_id"] == request;
}
