using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Jupyter;
using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Tests.Jupyter;

/// <summary>The kernel over the wire, as the messaging protocol of Jupyter describes it.</summary>
public sealed class KernelConformanceTests : IClassFixture<KernelConformanceTests.SharedKernel>
{
    private readonly KernelClient _kernel;

    public KernelConformanceTests(SharedKernel shared) => _kernel = shared.Client;

    [Fact]
    public void KernelInfo_OnShellAndControl_DescribesTheLanguage()
    {
        foreach (var channel in new[] { Channel.Shell, Channel.Control })
        {
            var reply = _kernel.Ask("kernel_info_request", channel: channel).Reply;
            Assert.Equal("kernel_info_reply", reply.Type);
            Assert.Equal("ok", reply.Text("status"));
            Assert.StartsWith("5.", reply.Text("protocol_version"), StringComparison.Ordinal);
            Assert.Equal("lora-notebooks", reply.Text("implementation"));
            Assert.Equal("C#", (string?)reply.Content["language_info"]!["name"]);
            Assert.Equal(".cs", (string?)reply.Content["language_info"]!["file_extension"]);
        }
    }

    [Fact]
    public void Execute_HelloWorld_ComesOnStdoutAndStderr()
    {
        var cell = _kernel.Execute("Console.WriteLine(\"hello, world\"); Console.Error.WriteLine(\"hello, errors\");");
        Assert.Equal("ok", cell.Status);
        Assert.Equal("hello, world\n", cell.Stream("stdout"));
        Assert.Equal("hello, errors\n", cell.Stream("stderr"));
    }

    [Fact]
    public void Execute_Output_StandsBetweenBusyAndIdleWithTheRequestAsParent()
    {
        var cell = _kernel.Execute("Console.Write(1); display(2); 3");
        Assert.Equal(["status", "execute_input", "stream", "display_data", "execute_result", "status"], cell.Told.Select(message => message.Type));
        Assert.Equal("busy", cell.Told[0].Text("execution_state"));
        Assert.Equal("idle", cell.Told[^1].Text("execution_state"));
        Assert.All(cell.Told, message => Assert.Equal("execute_request", (string?)message.ParentHeader["msg_type"]));
    }

    [Fact]
    public void Execute_Streams_KeepTheirOrder()
    {
        var cell = _kernel.Execute("for (var i = 0; i < 3; i++) { Console.Write(i); Console.Error.Write((char)('a' + i)); }");
        Assert.Equal("0a1b2c", string.Concat(cell.Outputs.Select(message => message.Text("text"))));
    }

    [Fact]
    public void Execute_LongCell_StreamsWhileItRuns()
    {
        // The cell ends only once what it wrote first was heard here.
        using var folder = new TemporaryFolder();
        var heard = folder.File("heard");
        var id = _kernel.Send("execute_request", new JsonObject
        {
            ["code"] = $"Console.WriteLine(\"early\"); while (!File.Exists(@\"{heard}\")) await Task.Delay(20); Console.WriteLine(\"late\");",
        });
        _kernel.Hear(message => message.Type == "stream" && message.Text("text") == "early\n" && (string?)message.ParentHeader["msg_id"] == id);
        File.WriteAllText(heard, "");
        Assert.Contains("late\n", _kernel.Await(id).Stream("stdout"), StringComparison.Ordinal);
    }

    [Fact]
    public void Execute_Value_IsTheResultWithItsCount()
    {
        var first = _kernel.Execute("20 + 1");
        var second = _kernel.Execute("20 + 2");
        Assert.Equal("21", first.Result);
        Assert.Equal("22", second.Result);
        Assert.Equal((int)first.Reply.Content["execution_count"]! + 1, (int)second.Reply.Content["execution_count"]!);
        Assert.Equal((int)second.Reply.Content["execution_count"]!, (int)second.Outputs.Single().Content["execution_count"]!);
        Assert.Empty(_kernel.Execute("var noValue = 1;").Outputs);
    }

    [Fact]
    public void Execute_Silent_SaysNothingAndCountsNothing()
    {
        var before = (int)_kernel.Execute("1").Reply.Content["execution_count"]!;
        var silent = _kernel.Execute("2", silent: true);
        Assert.Empty(silent.Outputs);
        Assert.DoesNotContain(silent.Told, message => message.Type == "execute_input");
        Assert.Equal(before + 1, (int)_kernel.Execute("3").Reply.Content["execution_count"]!);
    }

    [Fact]
    public void Execute_Exception_IsExactlyOneErrorWithTheLineOfTheCell()
    {
        var cell = _kernel.Execute("int Half(int n)\n{\n    return 1 / n;\n}\nHalf(0)");
        Assert.Equal("error", cell.Status);
        var error = Assert.Single(cell.Outputs);
        Assert.Equal("error", error.Type);
        Assert.Equal("System.DivideByZeroException", error.Text("ename"));
        Assert.Equal(error.Text("evalue"), cell.Reply.Text("evalue"));
        var coloured = string.Join('\n', error.Content["traceback"]!.AsArray().Select(line => (string?)line));
        Assert.Contains("\u001b[0;31mSystem.DivideByZeroException\u001b[0m: ", coloured, StringComparison.Ordinal);
        var traceback = AnsiText.Plain(coloured);
        Assert.Contains("line 3, in Half: return 1 / n;", traceback, StringComparison.Ordinal);
        Assert.DoesNotContain("LoraNotebooks.Kernel", traceback, StringComparison.Ordinal);
    }

    [Fact]
    public void Execute_CompileError_IsExactlyOneErrorAndTheSessionGoesOn()
    {
        var cell = _kernel.Execute("var a = nothing;\nvar b = neither;");
        Assert.Equal("CompileError", Assert.Single(cell.Outputs).Text("ename"));
        Assert.Equal("5", _kernel.Execute("2 + 3").Result);
    }

    [Fact]
    public void Execute_AfterAnError_AbortsTheCellsThatWereWaiting()
    {
        var ids = new[] { "Thread.Sleep(2_000); throw new Exception(\"first\");", "\"second\"", "\"third\"" }
            .Select(code => _kernel.Send("execute_request", new JsonObject { ["code"] = code })).ToArray();
        var ended = ids.Select(id => _kernel.Await(id)).ToArray();
        Assert.Equal(["error", "aborted", "aborted"], ended.Select(cell => cell.Status));
        Assert.All(ended[1..], cell => Assert.False(cell.Reply.Content.ContainsKey("execution_count")));
        Assert.Equal("1", _kernel.Execute("1").Result);
    }

    [Fact]
    public void Execute_AfterAnErrorThatIsAllowed_RunsTheCellsThatWereWaiting()
    {
        var failing = _kernel.Send("execute_request", new JsonObject { ["code"] = "Thread.Sleep(300); throw new Exception();", ["stop_on_error"] = false });
        var next = _kernel.Send("execute_request", new JsonObject { ["code"] = "\"still run\"" });
        _kernel.Await(failing);
        Assert.Equal("still run", _kernel.Await(next).Result);
    }

    [Fact]
    public void Execute_UserExpressions_AreEvaluatedAfterTheCell()
    {
        var cell = _kernel.Ask("execute_request", new JsonObject
        {
            ["code"] = "var asked = 6;",
            ["user_expressions"] = new JsonObject { ["double"] = "asked * 2", ["broken"] = "asked +" },
        });
        Assert.Equal("12", (string?)cell.Reply.Content["user_expressions"]!["double"]!["data"]!["text/plain"]);
        Assert.Equal("error", (string?)cell.Reply.Content["user_expressions"]!["broken"]!["status"]);
    }

    [Fact]
    public void Display_Update_ReplacesUnderTheSameTransientId()
    {
        var cell = _kernel.Execute("var shown = display(\"first\"); shown.Update(\"second\"); display(HTML(\"<b>x</b>\"));");
        Assert.Equal(["display_data", "update_display_data", "display_data"], cell.Outputs.Select(message => message.Type));
        var ids = cell.Outputs.Select(message => (string?)message.Content["transient"]!["display_id"]).ToArray();
        Assert.Equal(ids[0], ids[1]);
        Assert.NotEqual(ids[0], ids[2]);
        Assert.Equal("second", (string?)cell.Outputs[1].Content["data"]!["text/plain"]);
        Assert.Equal("<b>x</b>", (string?)cell.Outputs[2].Content["data"]!["text/html"]);
    }

    [Fact]
    public void Display_UpdateFromALaterCellOrTask_BelongsToTheCellThatMadeIt()
    {
        var first = _kernel.Execute(
            "var kept = display(\"old\"); var background = Task.Run(async () => "
                + "{ await Task.Delay(700); kept.Update(\"from the background\"); Console.Write(\"late text\"); });");
        var made = (string?)first.Outputs[0].ParentHeader["msg_id"];
        _kernel.Execute("kept.Update(\"from a later cell\");");
        var second = _kernel.Send("execute_request", new JsonObject { ["code"] = "await background; Console.Write(\"own text\");" });
        _kernel.Hear(message =>
            message.Type == "update_display_data"
            && (string?)message.Content["data"]!["text/plain"] == "from a later cell"
            && (string?)message.ParentHeader["msg_id"] == made);
        _kernel.Hear(message =>
            message.Type == "update_display_data"
            && (string?)message.Content["data"]!["text/plain"] == "from the background"
            && (string?)message.ParentHeader["msg_id"] == made);
        _kernel.Hear(message => message.Type == "stream" && message.Text("text") == "late text" && (string?)message.ParentHeader["msg_id"] == made);
        Assert.Equal("own text", _kernel.Await(second).Stream("stdout"));
    }

    [Fact]
    public void ClearOutput_WithWait_IsTold()
    {
        var cell = _kernel.Execute("Console.Write(\"old\"); ClearOutput(wait: true); Console.Write(\"new\");");
        Assert.Equal(["stream", "clear_output", "stream"], cell.Outputs.Select(message => message.Type));
        Assert.True(cell.Outputs[1].Flag("wait", whenMissing: false));
    }

    [Theory]
    [InlineData("1 + 1", "complete")]
    [InlineData("for (var i = 0; i < 3; i++)\n{", "incomplete")]
    [InlineData("Console.WriteLine(\"a\"", "incomplete")]
    public void IsComplete_Code_IsJudged(string code, string expected) =>
        Assert.Equal(expected, _kernel.Ask("is_complete_request", new JsonObject { ["code"] = code }).Status);

    [Fact]
    public void Complete_MembersOfAVariableOfAnEarlierCell_AreListed()
    {
        _kernel.Execute("var letters = \"abc\";");
        const string code = "// 😀\nletters.Subs";
        var reply = _kernel.Ask("complete_request", new JsonObject { ["code"] = code, ["cursor_pos"] = code.EnumerateRunes().Count() }).Reply;
        Assert.Contains("Substring", reply.Content["matches"]!.AsArray().Select(match => (string?)match));
        Assert.Equal(code.EnumerateRunes().Count() - 4, (int)reply.Content["cursor_start"]!);
        Assert.Equal(code.EnumerateRunes().Count(), (int)reply.Content["cursor_end"]!);
    }

    [Fact]
    public void Inspect_Method_ShowsItsSignatureAndMeaning()
    {
        const string code = "Math.Max(1, 2)";
        var reply = _kernel.Ask("inspect_request", new JsonObject { ["code"] = code, ["cursor_pos"] = 6, ["detail_level"] = 0 }).Reply;
        Assert.True(reply.Flag("found", whenMissing: false));
        Assert.Contains("Max", (string?)reply.Content["data"]!["text/plain"], StringComparison.Ordinal);
        Assert.False(_kernel.Ask("inspect_request", new JsonObject { ["code"] = "   ", ["cursor_pos"] = 1 }).Reply.Flag("found", whenMissing: true));
    }

    [Fact]
    public void History_TailRangeAndSearch_GiveTheCells()
    {
        _kernel.Execute("\"a line to find\"");
        var last = _kernel.Execute("\"the last line\"").Reply;
        Assert.Equal("\"the last line\"", Inputs(new JsonObject { ["hist_access_type"] = "tail", ["n"] = 2 })[^1]);
        Assert.Equal(["\"a line to find\""], Inputs(new JsonObject { ["hist_access_type"] = "search", ["pattern"] = "*to find*", ["unique"] = true }));
        var line = (int)last.Content["execution_count"]!;
        Assert.Equal(["\"the last line\""], Inputs(new JsonObject { ["hist_access_type"] = "range", ["session"] = 0, ["start"] = line, ["stop"] = line + 1 }));

        string[] Inputs(JsonObject request) =>
            [.. _kernel.Ask("history_request", request).Reply.Content["history"]!.AsArray().Select(entry => (string)entry![2]!)];
    }

    [Fact]
    public void Comm_UnknownTarget_IsClosedAndListedNowhere()
    {
        _kernel.Send("comm_open", new JsonObject { ["comm_id"] = "some-comm", ["target_name"] = "jupyter.widget", ["data"] = new JsonObject() });
        _kernel.Send("comm_msg", new JsonObject { ["comm_id"] = "some-comm", ["data"] = new JsonObject() });
        _kernel.Hear(message => message.Type == "comm_close" && message.Text("comm_id") == "some-comm");
        Assert.Empty(_kernel.Ask("comm_info_request").Reply.Content["comms"]!.AsObject());
    }

    [Fact]
    public void Comm_OfAStopButton_StopsThatWorkWhileTheCellGoesOn()
    {
        var id = _kernel.Send("execute_request", new JsonObject
        {
            ["code"] = """
                var pressed = new TaskCompletionSource();
                var offer = NotebookHost.Current.OfferStop(() => pressed.SetResult());
                Console.Write(offer.Id);
                await pressed.Task;
                "the cell goes on"
                """,
        });
        var offer = _kernel.Hear(message => message.Type == "stream" && (string?)message.ParentHeader["msg_id"] == id).Text("text");
        _kernel.Send("comm_open", new JsonObject { ["comm_id"] = "ask", ["target_name"] = "lora-notebooks.run", ["data"] = new JsonObject { ["id"] = offer } });
        Assert.Equal("running", Answer("ask"));
        _kernel.Send("comm_open", new JsonObject
        {
            ["comm_id"] = "stop",
            ["target_name"] = "lora-notebooks.run",
            ["data"] = new JsonObject { ["id"] = offer, ["stop"] = true },
        });
        Assert.Equal("the cell goes on", _kernel.Await(id).Result);

        string? Answer(string comm) =>
            (string?)_kernel.Hear(message => message.Type == "comm_msg" && message.Text("comm_id") == comm).Content["data"]!["state"];
    }

    [Fact]
    public void Stdin_ReadLine_AsksTheFrontEnd()
    {
        var cell = _kernel.Execute("Console.Write(\"name? \"); var name = Console.ReadLine(); name.ToUpper()", input: () => "mika");
        Assert.Equal("MIKA", cell.Result);
        Assert.Equal("name? ", cell.Stream("stdout"));
    }

    [Fact]
    public void Stdin_FrontEndThatCannotBeAsked_IsAClearError()
    {
        var cell = _kernel.Execute("Console.ReadLine()");
        Assert.Contains("cannot ask for input", Assert.Single(cell.Outputs).Text("evalue"), StringComparison.Ordinal);
    }

    [Fact]
    public void Message_OfAMegabyte_GoesThroughBothWays()
    {
        var text = new string('x', 1_000_000);
        var cell = _kernel.Execute($"var large = \"{text}\"; Console.Write(large); display(HTML(large)); large.Length");
        Assert.Equal("1000000", cell.Result);
        Assert.Equal(text, cell.Stream("stdout"));
        Assert.Equal(text, (string?)cell.Outputs.Single(message => message.Type == "display_data").Content["data"]!["text/html"]);
    }

    [Fact]
    public void Heartbeat_Bytes_ComeBackWhileACellRuns()
    {
        var id = _kernel.Send("execute_request", new JsonObject { ["code"] = "Thread.Sleep(1000);" });
        Assert.Equal([1, 2, 3], _kernel.Beat([1, 2, 3]));
        _kernel.Await(id);
    }

    [Fact]
    public void Message_WithAWrongSignature_IsDroppedAndLogged()
    {
        _kernel.Send("execute_request", new JsonObject { ["code"] = "var intruder = 1;" }, key: "another key");
        Assert.DoesNotContain(_kernel.Listen(TimeSpan.FromSeconds(0.5)), message => message.Type is "status" or "execute_input");
        Assert.Equal("error", _kernel.Execute("intruder").Status);
        Assert.Contains("signature is not right", _kernel.Log, StringComparison.Ordinal);
    }

    [Fact]
    public void Message_OfUnknownType_IsIgnored()
    {
        _kernel.Send("no_such_request");
        Assert.Equal("4", _kernel.Execute("2 * 2").Result);
    }

    public sealed class SharedKernel : IDisposable
    {
        internal KernelClient Client { get; } = new();

        public void Dispose() => Client.Dispose();
    }
}
