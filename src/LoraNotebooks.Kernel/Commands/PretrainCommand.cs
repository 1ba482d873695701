using System.CommandLine;
using System.Globalization;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Vision;
using LoraNotebooks.Training.Pretraining;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>lora-notebooks pretrain</c>: trains the embedded base model, its classifier, and scores it.</summary>
internal static class PretrainCommand
{
    private static readonly Argument<string> Corpus = new("corpus")
    {
        Description = "The folder with the portraits (datasets/README.md says how to make them).",
    };
    private static readonly Option<string> Output = new("--output")
    {
        Description = "The folder that receives the models.",
        DefaultValueFactory = static _ => "artifacts/base",
    };
    private static readonly Option<int> AutoencoderSteps = new("--autoencoder-steps")
    {
        Description = "Steps of the autoencoder.",
        DefaultValueFactory = static _ => new PretrainingConfig { Corpus = "", Output = "" }.AutoencoderSteps,
    };
    private static readonly Option<int> DecoderSteps = new("--decoder-steps")
    {
        Description = "Steps of the decoder alone.",
        DefaultValueFactory = static _ => new PretrainingConfig { Corpus = "", Output = "" }.DecoderSteps,
    };
    private static readonly Option<int> DenoiserSteps = new("--denoiser-steps")
    {
        Description = "Steps of the UNet and the text encoder.",
        DefaultValueFactory = static _ => new PretrainingConfig { Corpus = "", Output = "" }.DenoiserSteps,
    };
    private static readonly Option<int> Captions = new("--captions")
    {
        Description = "Held-out captions to draw for the score.",
        DefaultValueFactory = static _ => 100,
    };
    private static readonly Option<int> Threads = new("--threads")
    {
        Description = "Threads to compute with; 0 leaves the choice to libtorch.",
        DefaultValueFactory = static _ => 0,
    };

    public static Command Create()
    {
        var command = new Command("pretrain", "Trains the embedded base model on a corpus of portraits. A stopped run goes on where it was.")
        {
            Stage(
                "base",
                "Trains autoencoder, decoder, UNet and text encoder, and writes the model.",
                static (config, _, _, cancellation) => BasePretraining.Run(config, new Lines(), cancellation)),
            Stage(
                "export",
                "Writes the model as the saved state has it, to look at a run while it goes on.",
                static (config, _, _, _) => BasePretraining.Export(config)),
            Stage(
                "classifier",
                "Trains the tag classifier that judges the pictures.",
                static (config, folder, _, cancellation) =>
                    ClassifierPretraining.Run(config, Path.Combine(folder, "tag-classifier"), progress: new Lines(), cancellation: cancellation)),
            Stage("score", "Draws held-out captions and lets the classifier judge them, attribute by attribute.", Score),
        };
        return command;
    }

    private static Command Stage(string name, string description, Action<PretrainingConfig, string, ParseResult, CancellationToken> run)
    {
        var command = new Command(name, description) { Corpus, Output, AutoencoderSteps, DecoderSteps, DenoiserSteps, Captions, Threads };
        command.SetAction((result, cancellation) => Task.Run(() =>
        {
            var folder = result.GetValue(Output)!;
            if (result.GetValue(Threads) is > 0 and var threads)
            {
                TorchSharp.torch.set_num_threads(threads);
            }

            var config = new PretrainingConfig
            {
                Corpus = result.GetValue(Corpus)!,
                Output = Path.Combine(folder, "avatar-diffusion"),
                AutoencoderSteps = result.GetValue(AutoencoderSteps),
                DecoderSteps = result.GetValue(DecoderSteps),
                DenoiserSteps = result.GetValue(DenoiserSteps),
            };
            try
            {
                run(config, folder, result, cancellation);
                return 0;
            }
            catch (OperationCanceledException)
            {
                Console.Error.WriteLine("Stopped; the state is saved. Run the same command to go on.");
                return 130;
            }
            catch (Exception e) when (e is ArgumentException or IOException or InvalidDataException)
            {
                Console.Error.WriteLine(e.Message);
                return 1;
            }
        }));
        return command;
    }

    private static void Score(PretrainingConfig config, string folder, ParseResult result, CancellationToken cancellation)
    {
        using var pipeline = StableDiffusionPipeline.FromFolder(config.Output);
        using var classifier = TagClassifier.FromFolder(Path.Combine(folder, "tag-classifier"));
        var pictures = new List<RgbImage>();
        var scores = BaseEvaluation.Score(pipeline, classifier, config.Corpus, result.GetValue(Captions), drawn: (caption, picture) =>
        {
            cancellation.ThrowIfCancellationRequested();
            picture.SavePng(Path.Combine(folder, "score", $"{pictures.Count:D3}.png"));
            pictures.Add(picture);
            Console.WriteLine($"{pictures.Count,4}  {caption}");
        });
        Console.WriteLine();
        Console.WriteLine("attribute          drawn by the base   real portraits");
        foreach (var score in scores)
        {
            Console.WriteLine($"{score.Attribute,-18} {score.Generated,4} of {score.Total,-4}         {score.Real,4} of {score.Total,-4}");
        }
    }

    /// <summary>Progress as plain lines, so that a log file of a long run can be read.</summary>
    private sealed class Lines : IProgress<PretrainingStep>
    {
        public void Report(PretrainingStep step) => Console.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{DateTime.Now:HH:mm:ss} {step.Stage} {step.Step}/{step.Steps} loss {step.Loss:F4} ")
                + string.Create(CultureInfo.InvariantCulture, $"learning rate {step.LearningRate:E1} {step.ImagesPerSecond:F1} images/s"));
    }
}
