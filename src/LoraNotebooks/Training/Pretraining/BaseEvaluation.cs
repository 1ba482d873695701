using System.Text.RegularExpressions;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Vision;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Pretraining;

/// <summary>How often one attribute of a caption is seen in the picture.</summary>
/// <param name="Attribute">The attribute, e.g. hair colour.</param>
/// <param name="Generated">Pictures drawn by the base in which the classifier finds what the caption says.</param>
/// <param name="Real">Real portraits of the same captions in which it finds that: what the classifier itself can reach.</param>
/// <param name="Total">The captions that name the attribute.</param>
public sealed record AttributeScore(string Attribute, int Generated, int Real, int Total);

/// <summary>Scores the base model on captions that were held out from its training, with the tag classifier as the judge.</summary>
public static partial class BaseEvaluation
{
    /// <summary>Attributes with one value of several: the classifier's most likely value must be the caption's.</summary>
    internal static readonly (string Name, Regex Tags)[] Choices =
    [
        ("style", Style()),
        ("hair colour", HairColour()),
        ("hair shape", HairShape()),
        ("skin", Skin()),
        ("background", Background()),
        ("clothing colour", Clothing()),
        ("expression", Expression()),
    ];

    /// <summary>Attributes that are there or not: the classifier's probability must lie on the caption's side of one half.</summary>
    private static readonly string[] Presences = ["glasses", "sunglasses", "beard", "mustache", "earrings"];

    /// <summary>Draws held-out captions and counts, attribute by attribute, what the classifier recognises.</summary>
    /// <param name="pipeline">The base model.</param>
    /// <param name="classifier">The judge.</param>
    /// <param name="corpus">The folder with the portraits.</param>
    /// <param name="captions">How many captions to draw. Default 100.</param>
    /// <param name="guidance">The guidance scale. Default 3.</param>
    /// <param name="steps">The denoising steps. Default 20.</param>
    /// <param name="seed">The seed of the choice of captions and of the first picture.</param>
    /// <param name="drawn">Receives each caption with its picture.</param>
    public static IReadOnlyList<AttributeScore> Score(
        StableDiffusionPipeline pipeline,
        TagClassifier classifier,
        string corpus,
        int captions = 100,
        double guidance = 3,
        int steps = 20,
        long seed = 1,
        Action<string, RgbImage>? drawn = null)
    {
        using var scope = NewDisposeScope();
        using var portraits = PortraitCorpus.Load(corpus, "test");
        var chosen = Enumerable.Range(0, portraits.Count).ToArray();
        new Random((int)seed).Shuffle(chosen);
        chosen = chosen[..Math.Min(captions, chosen.Length)];

        var pictures = new List<RgbImage>();
        foreach (var index in chosen)
        {
            var caption = string.Join(", ", portraits.Tags[index]);
            var picture = pipeline.Generate(new GenerationOptions { Prompt = caption, Guidance = guidance, Steps = steps, Seed = seed + index }).Single();
            pictures.Add(picture);
            drawn?.Invoke(caption, picture);
        }

        var generated = classifier.Probabilities(RgbImage.ToTensor(pictures));
        var real = classifier.Probabilities(portraits.Batch(tensor(chosen.Select(static i => (long)i).ToArray())));
        var tags = chosen.Select(i => portraits.Tags[i]).ToArray();
        return
        [
            .. Choices.Select(choice => ScoreChoice(choice.Name, choice.Tags, classifier.Tags, tags, generated, real)),
            .. Presences.Where(classifier.Tags.Contains).Select(tag => ScorePresence(tag, classifier.Tags, tags, generated, real)),
        ];
    }

    private static AttributeScore ScoreChoice(string name, Regex pattern, IReadOnlyList<string> known, string[][] tags, Tensor generated, Tensor real)
    {
        var options = Enumerable.Range(0, known.Count).Where(i => pattern.IsMatch(known[i])).ToArray();
        var (hits, realHits, total) = (0, 0, 0);
        for (var row = 0; row < tags.Length; row++)
        {
            var truth = tags[row].Where(tag => pattern.IsMatch(tag)).ToArray();
            if (truth.Length == 1 && known.Contains(truth[0]))
            {
                total++;
                hits += Best(generated, row, options, known) == truth[0] ? 1 : 0;
                realHits += Best(real, row, options, known) == truth[0] ? 1 : 0;
            }
        }

        return new AttributeScore(name, hits, realHits, total);
    }

    private static AttributeScore ScorePresence(string tag, IReadOnlyList<string> known, string[][] tags, Tensor generated, Tensor real)
    {
        var column = known.ToList().IndexOf(tag);
        var rows = Enumerable.Range(0, tags.Length).Where(row => tags[row].Contains(tag)).ToArray();
        return new AttributeScore(
            tag,
            rows.Count(row => generated[row, column].item<float>() > 0.5f),
            rows.Count(row => real[row, column].item<float>() > 0.5f),
            rows.Length);
    }

    private static string Best(Tensor probabilities, int row, int[] options, IReadOnlyList<string> known) =>
        known[options.MaxBy(option => probabilities[row, option].item<float>())];

    [GeneratedRegex(" style$")]
    private static partial Regex Style();

    [GeneratedRegex("^(black|brown|blonde|red|gray|pink|blue|green|purple|white) hair$")]
    private static partial Regex HairColour();

    [GeneratedRegex(
        "^((short|long|curly|medium|wavy) hair|bald|bob cut|buzz cut|mohawk|pigtails|ponytail|braid|hair bun|twin buns|afro|dreads|flat top"
        + "|cap|beanie|turban|hat)$")]
    private static partial Regex HairShape();

    [GeneratedRegex(" skin$")]
    private static partial Regex Skin();

    [GeneratedRegex(" background$")]
    private static partial Regex Background();

    [GeneratedRegex(" (shirt|turtleneck|jacket|dress)$")]
    private static partial Regex Clothing();

    [GeneratedRegex("^(smile|big smile|frown|neutral face|open mouth|angry|surprised)$")]
    private static partial Regex Expression();
}
