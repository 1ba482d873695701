using System.Text.RegularExpressions;
using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive.Tests;

/// <summary>Small things that many tests need.</summary>
internal static partial class Some
{
    /// <summary>Texts that a page, a chart or a Markdown cell could take for something else than text.</summary>
    public static readonly string[] HostileTexts =
    [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "</style><style>body{display:none}</style>",
        "' onmouseover='alert(1)",
        "</td></tr></table><b>out",
        "[click](javascript:alert(1)) ![x](http://e.example/x.png) `code` **bold** $x$",
        "<svg/onload=alert(1)>",
        "&lt;script&gt; \u0000\u0007 \u202e",
    ];

    public static RgbImage Image(int width = 8, int height = 8, byte shade = 200) =>
        new(width, height, [.. Enumerable.Range(0, width * height * 3).Select(i => (byte)((shade + 7 * i) % 256))]);

    public static TrainingStep Step(int step, int steps, int epoch, int epochs, double loss) => new()
    {
        Step = step,
        TotalSteps = steps,
        Epoch = epoch,
        TotalEpochs = epochs,
        Loss = loss,
        SmoothedLoss = loss,
        LearningRates = Rates(1e-4),
        Unit = "image",
        GradientNorm = 0.1,
        Seconds = step / 2.0,
        ExamplesPerSecond = 8,
        SecondsLeft = (steps - step) / 2.0,
    };

    /// <summary>Learning rates by name, the UNet's and, if given, the text encoder's.</summary>
    public static IReadOnlyDictionary<string, double> Rates(double? unet, double? textEncoder = null) =>
        new OrderedDictionary<string, double>(new[] { (Name: "UNet", Rate: unet), (Name: "text encoder", Rate: textEncoder) }
            .Where(static pair => pair.Rate is not null).Select(static pair => KeyValuePair.Create(pair.Name, pair.Rate!.Value)));

    /// <summary>What a reader reads of markup, piece by piece.</summary>
    public static string[] Words(string html) =>
        [.. Markup().Split(html).Select(text => System.Net.WebUtility.HtmlDecode(text).Trim()).Where(text => text.Length > 0)];

    public static XyzResult Result(string prompt = "a cat", string[]? replacements = null) =>
        new XyzGrid(
            new XyzSettings { Prompt = prompt },
            XyzAxis.PromptSearchReplace([prompt, .. replacements ?? ["a dog"]]),
            XyzAxis.Seed(1, 2)).Run(new Painter());

    /// <summary>Fails unless the markup holds only the elements and attributes that displays use, balanced, and no trace of the texts as markup.</summary>
    public static void AssertHarmless(string html)
    {
        var open = new Stack<string>();
        var rest = Tag().Replace(html, match =>
        {
            var name = match.Groups["name"].Value;
            Assert.Contains(
                name,
                (string[])["b", "br", "div", "details", "summary", "em", "img", "span", "strong", "table", "tbody", "td", "th", "tr", "code"]);
            foreach (Capture attribute in match.Groups["attribute"].Captures)
            {
                Assert.Contains(attribute.Value, (string[])
                [
                    "align", "alt", "aria-label", "aria-valuemax", "aria-valuemin", "aria-valuenow", "colspan", "data-lora-state",
                    "height", "role", "scope", "src", "style", "title", "valign", "width",
                ]);
            }

            if (match.Groups["end"].Success)
            {
                Assert.Equal(open.Pop(), name);
            }
            else if (name is not ("img" or "br"))
            {
                open.Push(name);
            }

            return "";
        });
        Assert.Empty(open);
        Assert.DoesNotContain('<', rest);
        Assert.DoesNotContain('>', rest);
    }

    [GeneratedRegex("<[^>]*>")]
    private static partial Regex Markup();

    // Every attribute value is quoted and holds no bracket.
    [GeneratedRegex("""<(?<end>/)?(?<name>[a-z0-9]+)(?: (?<attribute>[a-z-]+)="[^"<>]*")*>""")]
    private static partial Regex Tag();
}

internal sealed class Painter(Func<RgbImage>? paint = null) : IXyzRenderer
{
    public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken) => paint?.Invoke() ?? Some.Image();
}

/// <summary>A host that keeps what it gets, can stop its cell and takes presses of the Stop button.</summary>
internal sealed class RecordingHost : INotebookHost
{
    private readonly CancellationTokenSource _cell = new();
    private readonly Dictionary<string, Action> _offers = [];
    private readonly Lock _gate = new();
    private readonly List<List<MimeBundle>> _displays = [];

    public IReadOnlyList<IReadOnlyList<MimeBundle>> Displays
    {
        get
        {
            lock (_gate)
            {
                return [.. _displays.Select(d => (IReadOnlyList<MimeBundle>)[.. d])];
            }
        }
    }

    public IDisplayHandle Display(MimeBundle bundle)
    {
        lock (_gate)
        {
            var updates = new List<MimeBundle> { bundle };
            _displays.Add(updates);
            return new Handle(this, updates);
        }
    }

    public CancellationToken Cancellation => _cell.Token;

    /// <summary>The Stop buttons that still do something.</summary>
    public IReadOnlyCollection<string> Offers => [.. _offers.Keys];

    public StopOffer? OfferStop(Action stop)
    {
        var id = $"stop-{_offers.Count + 1}";
        _offers[id] = stop;
        return new StopOffer(id, () => _offers.Remove(id));
    }

    public void StopCell() => _cell.Cancel();

    public void Press(string id) => _offers[id]();

    private sealed class Handle(RecordingHost host, List<MimeBundle> updates) : IDisplayHandle
    {
        public void Update(MimeBundle bundle)
        {
            lock (host._gate)
            {
                updates.Add(bundle);
            }
        }
    }
}
